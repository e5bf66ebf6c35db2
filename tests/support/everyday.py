"""Everyday texts, with all tags that a reader would accept. Written before a model had seen them; keep it so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Everyday:
    """A text, the tags that are right for it, and which of SUBJECTS it is about."""

    name: str
    content: str
    accepted: tuple[str, ...]
    subject: str


SUBJECTS = (
    "online shopping",
    "climbing",
    "gardening",
    "cooking",
    "software bugs",
    "hotels",
    "moving house",
    "floods",
    "football",
    "music",
    "health insurance",
    "tax returns",
)


def _everyday(name: str, subject: str, accepted: str, content: str) -> Everyday:
    return Everyday(name, content.strip(), tuple(" ".join(tag.split()) for tag in accepted.split(",")), subject)


EVERYDAY = (
    _everyday(
        "mail",
        "online shopping",
        """\
order, wrong order, online order, wrong size, size 42, size 38, running shoes, shoes, footwear, sandals, return,
returns, parcel, package, delivery, wrong delivery, wrong item, online shop, shopping, online shopping, post office,
postage, return postage, shipping, shipping cost, race, running, complaint, customer service, refund, exchange,
replacement, mail, email, customer, mistake, order 48213, Nadia Brandt""",
        """\
Subject: Order 48213, wrong size

Hello,

last week I ordered a pair of running shoes in size 42 from your online shop. Today the parcel came, but there \
were sandals in size 38 in the box. I need the shoes for a race on 14 June, so please send me the right pair \
as soon as possible. I will bring the sandals back to the post office tomorrow. Could you also tell me whether \
I have to pay the postage of 6 euros for the return?

Best wishes,
Nadia Brandt""",
    ),
    _everyday(
        "chat",
        "climbing",
        """\
climbing, climbing wall, indoor climbing, rope, borrowed rope, rope rental, helmet, old helmet, Saturday, weekend,
shoulder, shoulder injury, hurt shoulder, injury, snacks, friends, meeting, meetup, bus stop, meeting point, plans,
planning, trip, outing, sport, sports, equipment, climbing gear, rental, chat, group chat, brother, little brother,
sister, beginner, first time, kids, child, safety, leisure, activity, group, Mira, Jon, Pat""",
        """\
[18:02] mira: who is coming to the climbing wall on Saturday?
[18:03] jon: me! but my rope is at my sister's place
[18:05] mira: no problem, we can borrow one there, it costs 5 euros
[18:07] pat: I hurt my shoulder last week, so I will only watch and bring the snacks
[18:08] jon: poor you. shall I bring my old helmet for your little brother, mira?
[18:10] mira: yes please, he is 9 and it is his first time. we meet at 10 at the bus stop""",
    ),
    _everyday(
        "minutes",
        "gardening",
        """\
garden club, gardening, garden, club, minutes, meeting, meeting minutes, club meeting, next meeting, treasurer,
budget, money, finances, funds, water butts, fence, fence repair, repair, maintenance, purchase, greenhouse, seeds,
seed swap, school hall, compost, compost heap, rats, pests, pest control, notice, members, decisions, community,
event, cooked food, food waste, report, treasurer's report, Ines""",
        """\
Minutes of the garden club, 3 March

Present: 11 members. The treasurer reported that 840 euros are left from last year. It was decided to buy two \
new water butts and to repair the fence behind the greenhouse. Members are asked to sort their seeds for the \
seed swap on 28 March, which will take place in the school hall. The compost heap has attracted rats, so \
cooked food must no longer be put on it. Ines will write a notice. Next meeting: 7 April.""",
    ),
    _everyday(
        "recipe",
        "cooking",
        """\
lentil soup, soup, lentils, red lentils, legumes, recipe, soup recipe, cooking, vegetarian, vegan, vegetables, onion,
carrots, celery, olive oil, tomatoes, cumin, vegetable stock, stock, lemon, lemon juice, yoghurt, yogurt, bread, warm
bread, dinner, lunch, meal, food, healthy, creamy soup, seasoning, spices, salt, pepper, kitchen, ingredients, comfort
food, easy, fridge, simmering""",
        """\
Lentil soup for 4

Chop one onion, two carrots and a stick of celery and fry them gently in olive oil for 10 minutes. Add 250 g \
of red lentils, a tin of tomatoes, a teaspoon of cumin and a litre of vegetable stock. Let the soup simmer for \
25 minutes with the lid on. Blend half of it so that it becomes creamy, and season with lemon juice, salt and \
pepper. Serve with yoghurt and warm bread. It keeps in the fridge for three days.""",
    ),
    _everyday(
        "error report",
        "software bugs",
        """\
app crash, crash, crashes, calendar, calendar app, appointments, recurring appointments, repeating appointments,
monthly appointments, recurring events, bug, bug report, software bug, error, error 503, error message, unexpected
error, error report, update, software update, version 5.1, phone, smartphone, Pixel 7, Android, Android 15, mobile
app, app, log file, synchronization, sync, browser, web version, reinstall, restart, troubleshooting, software,
technical support, technical issue, problem, issue""",
        """\
Since the update to version 5.1 the calendar app crashes when I open an appointment that repeats every month. \
It shows "Unexpected error 503" for a second and then closes. Appointments without repetition open as usual. I \
have restarted the phone and installed the app again, but nothing helped. My phone is a Pixel 7 with Android \
15. The synchronization with the web version still works: I can see and change the same appointments in the \
browser. A log file is attached.""",
    ),
    _everyday(
        "review",
        "hotels",
        """\
hotel, hotel review, review, the Seagull, room, small room, clean room, spotless room, balcony, harbour, harbor,
harbour view, breakfast, home-made jam, jam, thin walls, walls, noise, noisy neighbours, neighbors, television, no
lift, lift, elevator, pram, accessibility, staff, friendly staff, bicycles, bikes, free bicycles, bike rental, price,
value, holiday, vacation, travel, trip, accommodation, seaside, family, stay, hospitality, guests, service, September,
four nights""",
        """\
We stayed at the Seagull for four nights in September. The room was small but spotless, with a balcony over \
the harbour, and the breakfast with home-made jam was the best of our whole trip. Two things could be better: \
the walls are so thin that we heard our neighbours' television until midnight, and there is no lift, which is \
hard with a pram. The staff were friendly and lent us bicycles for free. For 95 euros a night we would come \
again.""",
    ),
    _everyday(
        "to-do list",
        "moving house",
        """\
move, moving, moving house, moving day, house move, relocation, packing, boxes, to-do list, todo, checklist, tasks,
internet contract, internet, cancellation, cancel contract, contract, customer number, storage room, storage, books,
dishes, labels, van, moving van, driver, freezer, defrosting, oven, cleaning, electricity meter, meter reading,
electricity, supplier, keys, key handover, handover, new address, address, change of address, bank, doctor, school,
household, home, planning, preparation, organization, Friday, Tom, Mrs. Lindner""",
        """\
Before the move on Friday
- cancel the old internet contract, customer number 7741
- pick up 20 boxes from the storage room
- pack books and dishes, label every box
- ask Tom whether he can drive the van at 8
- defrost the freezer and clean the oven
- read the electricity meter and send a photo to the supplier
- hand over the keys to Mrs. Lindner at 5 pm
- tell the bank, the doctor and the school our new address""",
    ),
    _everyday(
        "news",
        "floods",
        """\
flood, floods, flooding, river flood, heavy rain, rain, rainfall, river, water level, old town, Velden, evacuation,
evacuees, fire brigade, firefighters, rescue, boats, cellars, sports hall, shelter, bridges, closed bridges, bridge
closure, mayor, damage, flood damage, government, government help, government aid, aid, disaster, natural disaster,
disaster relief, emergency, emergency services, weather, storm, residents, homes, water, news, experts""",
        """\
Heavy rain has flooded large parts of the old town of Velden. The river rose by 3.4 metres within a day, and \
around 600 people had to leave their homes on Sunday night. The fire brigade pumped water out of cellars and \
brought residents to a sports hall by boat. Nobody was injured. Two bridges stay closed until experts have \
examined them. The mayor estimates the damage at 12 million euros and has asked the government for help. More \
rain is expected on Wednesday.""",
    ),
)


def long_report() -> str:
    """The texts twice, with the second time's numbers a little greater: what is said again is never quite the same."""
    weeks = [EVERYDAY, EVERYDAY]
    return "\n\n".join(
        f"Week {number}. {_later(text.content, number)}" for number, texts in enumerate(weeks, 1) for text in texts
    )


def _later(content: str, week: int) -> str:
    return " ".join(str(int(word) + week - 1) if word.isdigit() else word for word in content.split(" "))
