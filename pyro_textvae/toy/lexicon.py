"""The words of the embedded corpus, written by hand: twenty topics, and what all topics share.

Every list goes from the commonest word to the rarest, so that a smaller variant takes the first few; a variant of
fewer topics takes the first of them, so that a new one goes to the end.
Agents are plural, verbs are bare, and objects are singular and follow "the": so the same forms fit a
statement, a question, an order, a promise and thanks, and no word is inflected for the act it is used in.
No content word belongs to two topics: a topic is planted in the words, and in nothing else. So the first five
places and tools have the same numbers of words in every topic.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TopicWords:
    """The content words of one topic: places and tools are phrases with their preposition."""

    agents: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    adjectives: tuple[str, ...]
    places: tuple[str, ...]
    tools: tuple[str, ...]


def _topic(agents: str, verbs: str, objects: str, adjectives: str, places: str, tools: str) -> TopicWords:
    """Split single words at spaces, and phrases at commas."""

    def phrases(text: str) -> tuple[str, ...]:
        return tuple(" ".join(phrase.split()) for phrase in text.split(","))

    return TopicWords(
        tuple(agents.split()),
        tuple(verbs.split()),
        tuple(objects.split()),
        tuple(adjectives.split()),
        phrases(places),
        phrases(tools),
    )


TOPICS: dict[str, TopicWords] = {
    "cooking": _topic(
        agents="cooks bakers chefs waiters butchers caterers confectioners brewers tasters hosts diners vegetarians "
        "gourmets innkeepers",
        verbs="stir taste season serve bake simmer roast chop fry garnish marinate whisk knead slice reheat devour",
        objects="soup bread stew sauce omelette pudding curry pastry risotto salad dumpling pancake casserole broth "
        "lasagne pie chutney custard gravy sandwich mushroom onion pumpkin noodle",
        adjectives="spicy salty creamy crispy sweet buttery bitter smoky juicy tender garlicky burnt peppery sticky "
        "sour crunchy steaming savoury",
        places="in the kitchen, in the bakery, at the restaurant, in the pantry, at the buffet, in the cafeteria, "
        "at the barbecue, in the tavern, in the canteen, at the bistro, in the cellar, by the stove",
        tools="with a ladle, with a spatula, with a fork, with tongs, with a knife, with a spoon, "
        "with a grater, with a skillet, with a saucepan, with a sieve, with a blender, with a griddle",
    ),
    "medicine": _topic(
        agents="surgeons nurses doctors paramedics dentists pharmacists midwives radiologists therapists physicians "
        "pediatricians anesthetists orderlies dermatologists",
        verbs="treat diagnose examine heal cure monitor relieve detect prevent assess alleviate soothe numb bandage "
        "disinfect medicate",
        objects="wound fracture infection fever burn allergy rash migraine sprain ulcer cough concussion toothache "
        "inflammation asthma measles pneumonia blister swelling dislocation anemia arthritis bruise tumor",
        adjectives="painful chronic severe swollen infected acute contagious bleeding mild recurrent sore inflamed "
        "benign congenital bacterial viral itchy lingering",
        places="in the clinic, in the hospital, in the ward, at the pharmacy, in the ambulance, in the infirmary, "
        "at the hospice, at the sanatorium, in the surgery, in the emergency room, in the laboratory, at the bedside",
        tools="with gauze, with a scalpel, with a stethoscope, with a syringe, with a splint, "
        "with antibiotics, with ointment, with tweezers, with painkillers, with stitches, "
        "with a vaccine, with an inhaler",
    ),
    "sailing": _topic(
        agents="sailors captains fishermen divers pirates lifeguards mariners helmsmen rowers yachtsmen deckhands "
        "harbourmasters skippers admirals",
        verbs="steer anchor launch moor board tow dock unload salvage rig navigate refloat capsize berth caulk "
        "christen",
        objects="boat ship ferry trawler raft canoe yacht schooner barge lifeboat kayak submarine dinghy tugboat "
        "catamaran galleon frigate steamer freighter sloop gondola hovercraft whaler clipper",
        adjectives="leaky rusty drifting sunken swift creaking seaworthy battered sleek stranded waterlogged buoyant "
        "weathered tarred overloaded windswept barnacled unsinkable",
        places="in the harbour, on the reef, off the coast, near the lighthouse, in the lagoon, by the pier, "
        "at the wharf, in the bay, beyond the breakwater, along the estuary, in the strait, at the marina",
        tools="with a rope, with an oar, with a compass, with a winch, with canvas, with a net, with a hook, "
        "with a rudder, with a lantern, with a spinnaker, with a sextant, with a bilge pump",
    ),
    "music": _topic(
        agents="musicians singers violinists drummers pianists composers guitarists conductors choristers trumpeters "
        "cellists flautists saxophonists organists",
        verbs="play sing rehearse record compose hum perform conduct arrange improvise harmonize transcribe whistle "
        "strum orchestrate premiere",
        objects="melody song symphony waltz ballad sonata overture lullaby concerto anthem hymn chorus tango fugue "
        "serenade quartet rhapsody duet nocturne opera madrigal polka aria march",
        adjectives="haunting cheerful loud mournful jazzy rhythmic melodic solemn soulful lively dissonant lyrical "
        "romantic catchy syncopated hushed upbeat wistful",
        places="in the studio, on the stage, at the concert, in the chapel, at the festival, in the auditorium, "
        "at the conservatory, in the ballroom, at the recital, in the nightclub, at the gala, in the bandstand",
        tools="with a violin, with drums, with a guitar, with a flute, with a trumpet, with an accordion, with a harp, "
        "with a metronome, with a microphone, with a cello, with a banjo, with cymbals",
    ),
    "football": _topic(
        agents="strikers goalkeepers defenders referees coaches fans midfielders teammates wingers substitutes "
        "linesmen scouts amateurs rivals",
        verbs="kick block deflect defend attempt celebrate miss award chase blast disallow curl dispute replay win "
        "lose",
        objects="penalty goal header corner shot cross tackle volley rebound dribble equaliser throw counterattack "
        "derby match championship tournament semifinal trophy backheel freekick crossbar ball playoff",
        adjectives="decisive powerful risky clumsy spectacular unstoppable lucky fierce goalless athletic reckless "
        "unbeaten thunderous tactical sloppy brilliant scrappy nervous",
        places="in the stadium, on the pitch, near the touchline, in the dugout, at the arena, in the clubhouse, "
        "on the sideline, at the gym, in the bleachers, before the grandstand, on the turf, in the tunnel",
        tools="with a sprint, with flair, with a feint, with a slide, with a lob, with teamwork, "
        "with stamina, with boots, with a flick, with one touch, with adrenaline, with shinguards",
    ),
    "law": _topic(
        agents="judges lawyers jurors witnesses prosecutors attorneys clerks plaintiffs defendants notaries bailiffs "
        "magistrates litigants solicitors",
        verbs="review dismiss appeal cite sign challenge uphold overturn ratify draft interpret revoke annul enforce "
        "amend negotiate",
        objects="verdict contract lawsuit testimony statute petition subpoena affidavit clause treaty warrant "
        "indictment settlement alibi ruling summons injunction deposition mortgage patent lease bylaw mandate "
        "testament",
        adjectives="legal binding unjust criminal lengthy unanimous confidential valid fraudulent landmark "
        "constitutional contested void punitive sworn perjured hostile plausible",
        places="in the courtroom, at the tribunal, at the hearing, in the chamber, in the embassy, in the parliament, "
        "at the registry, in the archive, at the precinct, in the jail, at the inquest, in the senate",
        tools="with evidence, with a gavel, with an oath, with a brief, with a precedent, with a seal, "
        "with a signature, with an objection, with a loophole, with a transcript, with a plea, with fingerprints",
    ),
    "farming": _topic(
        agents="farmers shepherds ranchers harvesters beekeepers gardeners ploughmen villagers goatherds stablehands "
        "growers winemakers foresters milkmaids",
        verbs="plant harvest plough irrigate fertilize sow weed prune fence mow till reap cultivate mulch hoe spray",
        objects="wheat field orchard meadow barley vineyard pasture potato cornfield hedge cabbage clover lettuce "
        "turnip alfalfa carrot sapling hayfield beet olive plum paddy rye sunflower",
        adjectives="ripe muddy fertile green grassy barren organic sunny dry overgrown leafy thorny dewy lush frosty "
        "weedy parched wormy",
        places="on the farm, near the barn, behind the stable, in the valley, by the windmill, in the greenhouse, "
        "beside the silo, near the henhouse, on the hillside, by the stream, along the furrow, at the dairy",
        tools="with a tractor, with a shovel, with a sickle, with manure, with a rake, with a pitchfork, "
        "with a wheelbarrow, with oxen, with a scythe, with compost, with a sprinkler, with a mule",
    ),
    "school": _topic(
        agents="teachers pupils students professors tutors librarians principals classmates scholars graduates "
        "lecturers examiners freshmen janitors",
        verbs="explain learn study solve grade memorize revise copy teach recite summarize understand prepare "
        "underline paraphrase plagiarize",
        objects="lesson essay equation poem exam homework textbook theorem chapter dictation vocabulary lecture quiz "
        "thesis curriculum algebra geometry grammar assignment fraction dictionary paragraph syllabus biology",
        adjectives="difficult boring advanced literary clever illegible mathematical introductory optional tedious "
        "scholarly written elementary historical abstract graded unfinished wordy",
        places="in the classroom, in the library, at the university, in the schoolyard, at the desk, "
        "in the dormitory, on the campus, at the academy, in the hallway, at the kindergarten, near the blackboard, "
        "in the seminar",
        tools="with a pencil, with chalk, with a notebook, with a ruler, with a calculator, with flashcards, "
        "with a highlighter, with crayons, with an eraser, with a globe, with an encyclopedia, with footnotes",
    ),
    "astronomy": _topic(
        agents="astronomers astronauts physicists stargazers cosmonauts scientists observers cosmologists "
        "researchers technicians rocketeers theorists spacewalkers programmers",
        verbs="observe photograph track orbit discover explore map measure scan simulate approach classify glimpse "
        "chart locate spot",
        objects="comet planet galaxy asteroid nebula star moon satellite supernova eclipse meteor pulsar "
        "constellation spacecraft crater quasar aurora exoplanet orbiter sunspot probe spaceship cosmos sputnik",
        adjectives="distant bright glowing cosmic invisible icy faint massive spiral radiant lunar magnetic gaseous "
        "interstellar binary luminous cratered infrared",
        places="at the observatory, above the horizon, from the launchpad, aboard the station, on the mountaintop, "
        "in the planetarium, beyond the atmosphere, from the capsule, in the hangar, near the antenna, "
        "under the dome, over the antarctic",
        tools="with a telescope, with a camera, with radar, with a mirror, with a spectrograph, "
        "with binoculars, with lasers, with a drone, with a detector, with an algorithm, with sensors, "
        "with a gyroscope",
    ),
    "building": _topic(
        agents="builders carpenters masons plumbers electricians roofers architects welders painters bricklayers "
        "engineers foremen surveyors glaziers",
        verbs="repair build paint demolish renovate insulate install plaster weld rebuild tile reinforce varnish "
        "assemble dismantle inspect",
        objects="wall roof bridge staircase chimney window ceiling door balcony fireplace floor porch garage tower "
        "pipe beam scaffold corridor cottage attic basement gutter pillar facade",
        adjectives="wooden cracked sturdy concrete crooked dusty hollow marble shaky slanted unpainted steel draughty "
        "spacious modern arched rectangular lofty",
        places="on the site, in the workshop, in the yard, beside the crane, in the warehouse, near the quarry, "
        "at the sawmill, in the suburb, on the rooftop, behind the factory, at the depot, by the trench",
        tools="with a hammer, with a drill, with cement, with a ladder, with a trowel, with nails, "
        "with a saw, with bricks, with a wrench, with a chisel, with plywood, with screws",
    ),
    "aviation": _topic(
        agents="pilots stewards aviators navigators passengers copilots controllers mechanics parachutists flyers "
        "instructors dispatchers paratroopers aeronauts",
        verbs="fly land refuel intercept test divert ground overhaul hijack reroute escort scramble ditch pressurize "
        "stall camouflage",
        objects="aeroplane jet helicopter glider airliner biplane balloon seaplane fighter bomber zeppelin parachute "
        "propeller cockpit fuselage wing airship turboprop rotorcraft triplane microlight flap aileron undercarriage",
        adjectives="airborne supersonic noisy unmanned overdue lightweight streamlined aerodynamic experimental wobbly "
        "inflatable roaring nonstop turbulent pressurized sluggish fireproof hypersonic",
        places="at the airport, on the runway, near the terminal, in the cabin, above the clouds, at the airfield, "
        "on the tarmac, at the gate, in the airspace, at the heliport, on the airstrip, in the simulator",
        tools="with a joystick, with an altimeter, with kerosene, with a headset, with a throttle, "
        "with a transponder, with a checklist, with an autopilot, with a windsock, with goggles, with a flare, "
        "with a tailwind",
    ),
    "banking": _topic(
        agents="bankers cashiers accountants investors traders brokers auditors lenders borrowers economists creditors "
        "savers debtors stockbrokers",
        verbs="deposit withdraw transfer invest calculate borrow finance refund audit convert lend insure repay forge "
        "underwrite launder",
        objects="loan cheque account salary budget pension dividend invoice bonus debt currency fund payment receipt "
        "tax banknote portfolio coin bond subsidy ledger annuity inheritance surcharge",
        adjectives="profitable expensive monthly lucrative cheap generous annual taxable hefty overdrawn fiscal "
        "speculative counterfeit bankrupt affordable quarterly offshore prepaid",
        places="at the bank, in the vault, at the counter, in the boardroom, at the auction, at the treasury, "
        "in the branch, at the kiosk, in the lobby, at the ministry, at the mint, at the pawnshop",
        tools="with a card, with a guarantee, with cash, with a voucher, with a stamp, with a discount, "
        "with collateral, with a coupon, with interest, with a padlock, with shares, with an abacus",
    ),
    "fashion": _topic(
        agents="designers tailors seamstresses stylists dressmakers weavers knitters shoemakers hairdressers milliners "
        "mannequins embroiderers debutantes haberdashers",
        verbs="wear sew iron knit fold fasten hem dye shorten embroider unbutton mend lengthen darn crease unzip",
        objects="dress jacket skirt coat blouse shirt scarf sweater gown glove cardigan tuxedo waistcoat apron shawl "
        "kimono cloak handbag raincoat bonnet veil necktie poncho corset",
        adjectives="elegant silky stylish baggy woollen fashionable striped shabby velvet wrinkled sleeveless floral "
        "trendy faded glamorous fluffy chequered frilly",
        places="in the boutique, on the catwalk, in the wardrobe, at the salon, at the wedding, in the showroom, "
        "in the closet, at the mall, at the laundry, in the drawer, in the suitcase, at the masquerade",
        tools="with a needle, with scissors, with a zipper, with a ribbon, with a thimble, with buttons, "
        "with a belt, with thread, with lace, with a buckle, with a brooch, with sequins",
    ),
    "theatre": _topic(
        agents="actors actresses directors playwrights dancers comedians magicians producers puppeteers clowns "
        "acrobats jugglers understudies ventriloquists",
        verbs="watch applaud direct adapt cancel cast enact interrupt revive narrate parody dramatize choreograph "
        "reenact mime heckle",
        objects="drama comedy tragedy scene musical role monologue script ballet dialogue farce costume curtain puppet "
        "melodrama satire prologue soliloquy pantomime matinee cabaret epilogue burlesque vaudeville",
        adjectives="dramatic hilarious tragic theatrical witty absurd comic gripping masked touching suspenseful "
        "sinister whimsical scripted sentimental melodramatic farcical bawdy",
        places="in the theatre, at the audition, in the spotlight, in the foyer, at the playhouse, at the rehearsal, "
        "at the circus, behind the scenery, in the cloakroom, at the carnival, in the wings, in the amphitheatre",
        tools="with a mask, with a wig, with makeup, with a prop, with a megaphone, with gestures, "
        "with applause, with a cue, with confetti, with a trapdoor, with marionettes, with footlights",
    ),
    "chemistry": _topic(
        agents="chemists assistants alchemists inventors biochemists experimenters distillers perfumers toxicologists "
        "refiners metallurgists glassblowers pharmacologists crystallographers",
        verbs="dissolve heat filter analyse extract evaporate dilute distil purify ignite neutralize synthesize "
        "oxidize ferment crystallize titrate",
        objects="acid solution powder compound gas crystal mixture metal salt molecule solvent catalyst polymer oxide "
        "enzyme alkali ammonia isotope sulphur ethanol resin nitrate electrolyte precipitate",
        adjectives="toxic corrosive flammable liquid acidic explosive volatile soluble colourless radioactive "
        "synthetic molten odourless inert crystalline fluorescent alkaline caustic",
        places="in the beaker, in the flask, at the refinery, in the furnace, at the institute, on the workbench, "
        "at the reactor, in the crucible, in the distillery, in the centrifuge, in the condenser, in the autoclave",
        tools="with a pipette, with a burner, with litmus, with a thermometer, with a funnel, with a microscope, "
        "with iodine, with electrodes, with a dropper, with bleach, with a stopper, with a burette",
    ),
    "wildlife": _topic(
        agents="rangers hunters biologists poachers zoologists campers naturalists trappers zookeepers trackers "
        "birdwatchers conservationists veterinarians ornithologists",
        verbs="feed protect hunt capture rescue release tame stalk frighten breed shelter lure poach cage befriend "
        "sedate",
        objects="bear wolf fox deer elephant tiger lion eagle rabbit owl squirrel zebra giraffe otter badger leopard "
        "gorilla hedgehog crocodile falcon buffalo panther antelope rhinoceros",
        adjectives="wild hungry furry rare endangered ferocious timid spotted nocturnal playful shaggy venomous "
        "wounded feathered migratory carnivorous predatory hibernating",
        places="in the forest, in the jungle, on the savannah, near the waterhole, at the zoo, in the cave, "
        "in the swamp, at the sanctuary, near the den, in the thicket, on the prairie, on the tundra",
        tools="with a trap, with a rifle, with bait, with a lasso, with an arrow, with a decoy, with berries, "
        "with a collar, with a spear, with acorns, with a muzzle, with a tranquillizer",
    ),
    "railways": _topic(
        agents="drivers commuters travellers guards porters inspectors tourists stationmasters signalmen railwaymen "
        "stokers trainspotters brakemen switchmen",
        verbs="catch stop ride halt reverse couple overtake derail evacuate reschedule accelerate shunt electrify "
        "uncouple lubricate nationalize",
        objects="train locomotive carriage tram wagon express compartment engine subway trolley sleeper shuttle "
        "monorail boiler railcar funicular streetcar boxcar coupling turntable viaduct caboose railbus handcar",
        adjectives="crowded late punctual electric empty rattling underground overnight scenic diesel vintage reserved "
        "cancelled elevated hissing derailed postal armoured",
        places="on the platform, at the junction, on the railway, at the crossing, at the terminus, at the border, "
        "on the embankment, near the signal, on the footbridge, at the turnstile, in the siding, in the roundhouse",
        tools="with a ticket, with a lever, with coal, with a timetable, with a flag, with luggage, with a lamp, "
        "with steam, with a rucksack, with grease, with a crowbar, with a loudspeaker",
    ),
    "computing": _topic(
        agents="developers hackers users coders administrators gamers analysts testers operators subscribers "
        "moderators typists webmasters cryptographers",
        verbs="download update debug delete upload encrypt configure browse compile upgrade reboot hack decrypt "
        "synchronize benchmark emulate",
        objects="computer website program file server database laptop software keyboard network browser printer folder "
        "processor smartphone router firewall compiler modem hyperlink webpage plugin cursor malware",
        adjectives="digital online slow wireless virtual buggy encrypted outdated compatible portable automated "
        "interactive corrupted offline obsolete programmable bloated glitchy",
        places="on the screen, on the internet, in the office, on the desktop, in the datacentre, "
        "at the workstation, on the forum, in the cloud, at the helpdesk, on the mainframe, in the arcade, "
        "on the intranet",
        tools="with a mouse, with a password, with code, with a cable, with a shortcut, with a charger, "
        "with a scanner, with antivirus, with a microchip, with pixels, with a debugger, with a hashtag",
    ),
    "journalism": _topic(
        agents="journalists reporters editors publishers columnists photographers critics correspondents presenters "
        "interviewers broadcasters cartoonists freelancers proofreaders",
        verbs="publish write edit print report quote investigate leak broadcast verify rewrite censor retract "
        "proofread fabricate syndicate",
        objects="article story interview headline scandal magazine column rumour editorial bulletin documentary "
        "caption tabloid newsletter obituary podcast quotation manuscript memoir crossword horoscope leaflet "
        "supplement communique",
        adjectives="exclusive anonymous biased accurate controversial sensational misleading daily factual weekly "
        "objective scandalous provocative trivial topical censored outspoken libellous",
        places="in the newsroom, on the radio, on the television, at the briefing, at the newsstand, in the media, "
        "at the summit, in the capital, in the bureau, on the frontline, at the consulate, at the printworks",
        tools="with a typewriter, with a recorder, with ink, with a source, with a telegram, with statistics, "
        "with a questionnaire, with sarcasm, with a pseudonym, with a tripod, with shorthand, with a teleprompter",
    ),
    "art": _topic(
        agents="artists sculptors potters illustrators collectors curators engravers goldsmiths restorers "
        "calligraphers muralists ceramists portraitists printmakers",
        verbs="draw sketch admire carve exhibit frame restore sculpt polish shade depict donate engrave mould etch "
        "gild",
        objects="portrait sculpture statue drawing landscape vase mural mosaic masterpiece fresco watercolour "
        "collage tapestry silhouette bust icon miniature figurine caricature medallion urn lithograph seascape "
        "triptych",
        adjectives="beautiful colourful vivid delicate realistic priceless ornate surreal expressive glazed baroque "
        "pastel gilded monochrome symmetrical impressionist minimalist cubist",
        places="in the gallery, at the museum, on the easel, at the exhibition, in the atelier, on the pedestal, "
        "in the garden, in the palace, in the cathedral, in the courtyard, in the monastery, at the biennale",
        tools="with a brush, with a palette, with clay, with a stencil, with a sponge, with charcoal, "
        "with wax, with enamel, with bronze, with turpentine, with acrylics, with a kiln",
    ),
}

# Shared by all topics: they say nothing of the topic, and a model has to learn just that.
ADVERBS = ("often", "rarely", "always", "quietly", "slowly", "eagerly", "carefully", "together", "secretly", "gladly")
TIMES = (
    "before dawn",
    "every morning",
    "at noon",
    "after lunch",
    "on sunday",
    "all night",
    "this week",
    "in winter",
    "during the holidays",
    "until the evening",
    "twice a month",
    "since last spring",
)
DEADLINES = (
    "right now",
    "by tomorrow",
    "within an hour",
    "before friday",
    "as soon as possible",
    "next time",
    "without delay",
    "once the guests have left",
)
REASONS = (
    "because nobody else can",
    "although it takes hours",
    "so that everyone is safe",
    "if the weather allows",
    "because the money is gone",
    "even when it rains",
    "while the children sleep",
    "unless something better happens",
)
CERTAINTIES = ("true", "clear", "likely", "certain", "surprising", "possible", "unusual", "obvious")
QUESTION_WORDS = ("why", "when", "where", "how")

# Factors of the variant whose modes collapse: each value is said early in a sentence and again late.
NAMES = ("anna", "boris", "clara", "david", "elena", "felix", "greta", "hugo", "irene", "jonas", "karin", "louis")
NUMBERS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
)
COLOURS = (
    "red",
    "blue",
    "yellow",
    "white",
    "black",
    "purple",
    "orange",
    "brown",
    "silver",
    "golden",
    "pink",
    "grey",
)
GOODS = {
    "cooking": "kettles",
    "medicine": "crutches",
    "sailing": "sails",
    "music": "violins",
    "football": "jerseys",
    "law": "robes",
    "farming": "baskets",
    "school": "satchels",
    "astronomy": "telescopes",
    "building": "doors",
}
CITIES = ("paris", "oslo", "cairo", "lima", "delhi", "tokyo", "rome", "dakar", "quito", "perth", "riga", "seoul")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# What stands between the two mentions, by its number of words: it says nothing of any factor.
INTERLUDES: dict[int, tuple[str, ...]] = {
    1: ("later", "afterwards", "meanwhile", "eventually"),
    2: ("much later", "soon afterwards", "some say", "in time"),
    3: (
        "after a while",
        "when rain fell",
        "as people say",
        "despite the cold",
        "before winter came",
        "some days later",
    ),
    4: (
        "when the market opened",
        "while everybody was asleep",
        "after many long talks",
        "as the newspaper reported",
        "because prices were low",
        "despite all the snow",
    ),
    5: (
        "when the old market opened",
        "while almost everybody was asleep",
        "after many long quiet talks",
        "as the local newspaper reported",
        "because prices were very low",
        "despite all the heavy snow",
    ),
}
