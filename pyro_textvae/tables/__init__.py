"""Whole tables of results: every row trained, measured and put side by side by one call.

>>> from pyro_textvae.tables import TABLES
>>> [row.name for row in TABLES["zhu2020"].choose(["VAE", "BN-VAE (0.7)"])]
['VAE', 'BN-VAE (0.7)']

rows        what a table is, as data
likelihood  the measure of language modelling
few_labels  the measure of classification with few labels
generation  the measure of the DEM-VAE paper: text that is generated, and what the discrete code tells
perplexity  the measure of the vMF-VAE paper: perplexity by bounds, and by what is none
documents   the measure of document models: both perplexities
zhu2020     the tables of the BN-VAE paper
shi2020     the tables of the DEM-VAE paper
xu2018      the NVRNN tables of the vMF-VAE paper
xu2018_20ng its document models
engine      table(): trains what is missing, and measures
page        what was measured, as Markdown, CSV and a picture
"""

from pyro_textvae.tables.documents import DocumentPerplexity
from pyro_textvae.tables.engine import TABLES, Result, table
from pyro_textvae.tables.few_labels import FewLabels
from pyro_textvae.tables.generation import Generation
from pyro_textvae.tables.likelihood import Likelihood
from pyro_textvae.tables.perplexity import Perplexity
from pyro_textvae.tables.rows import Budget, Fitted, Measure, Row, Table

__all__ = [
    "TABLES",
    "Budget",
    "DocumentPerplexity",
    "FewLabels",
    "Fitted",
    "Generation",
    "Likelihood",
    "Measure",
    "Perplexity",
    "Result",
    "Row",
    "Table",
    "table",
]
