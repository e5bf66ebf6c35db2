"""Word lists written by hand: function words, everyday nouns by subject, adjectives, verbs. Owns only their lookup."""

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

_NUMBERS = """
zero seven eight nine eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty
fifty sixty seventy eighty ninety hundred thousand million billion dozen second third fourth fifth sixth seventh eighth
ninth tenth twentieth seventieth percent
"""

_ADJECTIVES = """
afraid alive alone angry asleep awake bare bitter blind blue bold brave brief bright broad brown calm careful careless
cheap clean clear clever closed comfortable common cool correct crowded curious damp dangerous dark dead deaf dear deep
delicious dirty dry due dull eager early elderly electric empty enormous equal excellent expensive extra faint fair
famous fat favourite fine firm flat foreign free fresh friendly frozen funny gentle glad golden grand grateful green
grey guilty handy happy harsh healthy heavy hidden hollow honest hot huge hungry ill late lazy light likely lively
local lonely loose loud lovely low lucky mad male mild modern narrow nasty natural neat nervous nice noisy normal odd
old open ordinary pale patient perfect plain pleasant plenty polite poor popular pretty proud public pure quick quiet
rapid rare raw ready red regular rich ripe rough round rude sad safe salty separate severe shallow sharp shiny shy sick
silent silly simple slight slim slow smart smooth soft solid sore sorry sour spare steady steep stiff strange strict
strong stupid sudden sure sweet tall tender thick thin tidy tight tiny tired total tough true ugly unusual upset urgent
usual vague valuable violent warm weak wealthy weird wet whole wild wise wonderful wooden worn worried worst worse
wrong yellow young fewer older younger cheaper warmer colder longer shorter larger smaller earlier stronger weaker
faster slower higher lower closer further
"""

_VERBS = """
accept add admit affect agree answer appear apply argue arrange arrive ask attack attend avoid bake beat beg begin
believe belong bend bite blame bleed blow boil borrow bother break breathe build burn buy call care carry catch
celebrate choose clean clear climb collect compare complain connect consider continue cook cool cost cover cross cry
cut damage dare decide deliver demand deny depend describe destroy die dig discover discuss divide draw dream dress
drink drive drop dry earn eat encourage enjoy enter expect explain fail fall fasten fear feed fight fill finish fit fix
float fly fold follow forget forgive freeze fry gather grab greet grow guess happen hate heal hear heat hide hire hit
hope hunt hurry hurt ignore imagine improve increase inform invite join jump kick kill knock last laugh lay lead lean
learn lend lie lift listen live load lock lose love lower mark matter mean measure meet melt mend miss mix move need
notice obey offer open order owe own paint park pass pay persuade pick plan plant play point pour praise prefer prepare
press pretend prevent print promise protect prove pull push raise reach react read receive recommend reduce refuse
remain remember remind remove repair repeat replace reply rest ride ring rise roll rub rush save search sell send serve
settle sew shake share shine shout shut sing sink sit sleep slice slide smell smile solve speak spell spend spill
spread squeeze stay steal step stick stir stop store strengthen stretch strike suffer suggest suit supply suppose
surprise survive swap sweep swim switch talk taste teach tear tie touch trust turn understand visit wait wake walk
wander warn waste watch wear weigh whisper win wipe wonder worry wrap write
"""

_PAST_FORMS = """
arose ate beat bent bit bled blew bought broke built burnt caught chose cost crept dealt drank drew drove dug fell fled
flew forgot forgave fought froze grew heard hid hit hung hurt knew laid lay led lent lit lost meant met paid ran rang
rode rose sang sank sat sent shone shook shot shut slept slid slipped sold spent spoke spread stole stood stuck swam
swept swore taught threw tore understood woke won wore wrote written broken chosen drawn driven drunk eaten fallen
flown forgotten frozen grown known ridden risen shaken spoken stolen sung sworn thrown torn woken worn begun
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
    "letters": """letter friend colleague address invitation answer question request apology favour news reply promise
        visit guest host couple address envelope card stamp cousin plan idea advice choice reason mistake problem
        surprise memory""",
    "jobs": """job worker boss nurse carpenter baker farmer driver waiter lawyer engineer designer trainee interview
        salary shift contract uniform factory workshop machine tool skill training team colleague union holiday
        application rota""",
    "reviews": """restaurant waiter menu table dish hotel reception towel pillow view breakfast novel author chapter
        reader plot film scene ending series chair headphone kettle blender vacuum handle button noise price quality
        star opinion""",
    "nature": """forest mountain lake path meadow stream waterfall cliff rock cave moss mushroom deer squirrel trail
        hiker tent campfire backpack boots compass summit ridge valley hut rope guide sunrise wildlife river bank""",
    "technology": """phone laptop screen keyboard password printer router camera battery cable software update app
        browser website server backup file folder network headset charger tablet message photo cloud""",
}


def word_set(text: str) -> frozenset[str]:
    """The words of a text written out as a list."""
    return frozenset(text.split())


FUNCTION_WORDS = word_set(_FUNCTION)
STOP_WORDS = FUNCTION_WORDS | word_set(_DULL) | word_set(_NUMBERS)
SUBJECTS: dict[str, tuple[str, ...]] = {name: tuple(nouns.split()) for name, nouns in _SUBJECTS.items()}
_THIRD_FORMS = {
    verb[:-1] + "ies" if verb[-2:] in ("ly", "py", "ry", "ny") else verb + ("es" if verb[-1] in "shxz" else "s")
    for verb in _VERBS.split()
}
EVERYDAY_NOUNS = tuple(sorted({noun for nouns in SUBJECTS.values() for noun in nouns}))
OTHER_WORDS = (word_set(_VERBS + _PAST_FORMS + _ADJECTIVES) | _THIRD_FORMS) - STOP_WORDS - set(EVERYDAY_NOUNS)
