"""Word lists written by hand: function words, and everyday nouns by subject. Owns no logic but their lookup."""

from __future__ import annotations

_FUNCTION = """
a about above across after again against all almost alone along already also although always am among an and another
any anybody anyone anything are around as at away back be became because become been before began behind being below
beside besides between beyond both but by came can cannot come could did do does doing done down during each either
else enough especially etc even ever every everyone everything except few first for former from further gave get gets
give given gives go goes going gone got had has have having he hence her here hers herself him himself his how however
i if in indeed inside instead into is it its itself just keep kept know known last later least less let like likely
made make makes making many may maybe me meanwhile might mine more moreover most mostly much must my myself near
nearly need needs neither never new next no nobody none nor not nothing now of off often on once one ones only onto or
other others otherwise our ours out over own per perhaps please put quite rather really same say says second see seem
seems seen several shall she should since so some somebody someone something sometimes somewhere soon still such take
taken takes than that the their theirs them themselves then there therefore these they thing things third this those
though three through throughout thus till to together too took toward towards two under unless until up upon us use
used useful uses using usually various very via want wants was way ways we well went were what whatever when whenever
where whereas wherever whether which while who whoever whole whom whose why will with within without would yes yet you
your yours yourself
"""

_DULL = """
able allow allows amount appropriate available bad based basic best better big bit certain common complete contains
current day days different difficult easily easy example examples extra four five six ten full general good great
group half hard high hour hours important include included includes including information kind kinds large little long
lot lots low main minute minutes month months moment morning afternoon evening night number numbers old package
packages part parts people person piece place point possible purpose purposes real right set several short side similar
simple small sort specific standard start stuff support supports time times today tomorrow type types user users
version versions week weeks weekend wide work works year years yesterday provide provides provided find found help
helps look looks run runs tell tells told think thought try tries bring brought leave left hold held feel felt
minute monday tuesday wednesday thursday friday saturday sunday january february march april june july august
september october november december spring summer autumn winter half double single case cases order end top bottom
http https www com org html please note optional additional multiple entire
lives thousands hundreds hand hands lot mind everybody mr mrs ms yes thank thanks dear
"""

_SUBJECTS = {
    "cooking": """onion garlic butter flour dough oven pan soup sauce recipe pepper salt chicken rice noodle bread
        cake sugar cream cheese lemon basil carrot potato tomato bean lentil stew pastry yeast kitchen knife bowl
        broth spice vinegar mushroom egg milk salad dessert""",
    "travel": """airport flight passport hotel train station ticket suitcase luggage beach island ferry map museum
        guide border visa hostel bus coast village tourist road trip journey harbour bridge castle tour valley
        platform cabin customs souvenir itinerary""",
    "gardening": """garden soil seed tomato rose compost weed hedge lawn shovel pot root leaf bulb greenhouse water
        mulch orchard apple tree vine herb slug bee fertilizer branch blossom bed seedling spade pruning fence
        sunlight frost""",
    "meetings": """meeting agenda budget deadline report project team manager client contract proposal office minutes
        slide presentation supplier schedule decision department launch email review goal workshop invoice hiring
        marketing feedback roadmap customer""",
    "finance": """bank loan interest mortgage pension tax salary savings rent invoice share bond fund insurance market
        inflation debt credit card account payment currency dividend profit budget investor price economy fee
        deposit income""",
    "health": """doctor nurse clinic medicine sleep exercise heart blood pressure fever cough vaccine allergy diet
        vitamin muscle knee pain therapy patient hospital surgery symptom dentist tooth stress breathing headache
        walking infection recovery""",
    "sport": """match team coach goal player ball stadium league season race runner bicycle marathon referee tennis
        racket swimmer pool medal training injury champion score crowd defender keeper helmet track cup climber
        rope""",
    "home": """roof window door wall paint kitchen bathroom pipe heating boiler floor carpet furniture sofa lamp tile
        plumber neighbour landlord rent garage stairs shelf curtain insulation hammer drill screw ladder laundry
        cupboard""",
    "school": """teacher pupil school class lesson exam homework book library essay student university lecture maths
        history science language grammar classroom parent course degree scholarship campus reading spelling
        kindergarten timetable""",
    "weather": """storm rain snow wind cloud flood river drought temperature heat frost forecast thunder lightning
        climate coast wave ice fog sunshine hurricane glacier season warning reservoir""",
    "animals": """dog cat horse cow sheep bird owl nest fish whale dolphin shark bear wolf fox rabbit hen farm bee
        butterfly frog lizard elephant lion tiger zoo vet puppy kitten feather forest habitat""",
    "music": """guitar piano violin drum singer band orchestra song album concert stage melody rhythm chord choir
        festival composer audience microphone studio record lyrics trumpet opera dance ballet theatre actor""",
    "cars": """car engine brake tyre battery motor fuel petrol diesel garage mechanic wheel driver traffic road
        motorway parking licence truck charger gearbox mileage bonnet windscreen oil exhaust bicycle scooter""",
    "town": """council mayor park library market bridge street square shop bakery cafe tram cycle lane pavement
        festival parade neighbour housing police fire station playground charity volunteer election museum harbour
        noise""",
    "science": """planet star telescope moon orbit rocket satellite atom cell gene protein laboratory experiment
        microscope energy light magnet fossil dinosaur volcano ocean species bacteria virus molecule theory
        astronaut crater galaxy""",
    "history": """king queen emperor castle war battle army treaty empire revolution tomb pyramid temple sword ship
        trade merchant plague manuscript monk cathedral colony archive soldier knight coin ruin settlement""",
    "crafts": """wool yarn needle thread fabric sewing pattern button pottery clay kiln glaze brush canvas paint
        sculpture wood chisel varnish leather paper glue scissors quilt knitting loom bead candle basket""",
    "family": """mother father sister brother grandmother grandfather cousin baby wedding birthday party gift letter
        photo album holiday picnic dinner breakfast toy game bedtime story cradle uncle aunt child dog tradition""",
    "shopping": """shop price discount receipt refund delivery parcel courier jacket shoe dress coat wallet brand
        supermarket basket checkout voucher cashier order warranty catalogue size colour stock sale""",
    "technology": """phone laptop screen keyboard password printer router camera battery cable software update app
        browser website server backup file folder network headset charger tablet message photo cloud""",
}


def word_set(text: str) -> frozenset[str]:
    """The words of a text written out as a list."""
    return frozenset(text.split())


FUNCTION_WORDS = word_set(_FUNCTION)
STOP_WORDS = FUNCTION_WORDS | word_set(_DULL)
SUBJECTS: dict[str, tuple[str, ...]] = {name: tuple(nouns.split()) for name, nouns in _SUBJECTS.items()}
EVERYDAY_NOUNS = tuple(sorted({noun for nouns in SUBJECTS.values() for noun in nouns}))
