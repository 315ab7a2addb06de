"""Where invented names and facts come from: lists of parts, and decks of values combined from them."""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """Every value that can be made by filling `pattern` with one entry of each list of parts.

    No list holds an entry that would make one value part of another, e.g. "4 May" of "14 May": an exact fact must not
    be found inside a wrong one.
    """

    pattern: str
    parts: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return math.prod(len(part) for part in self.parts)

    def value(self, number: int) -> str:
        """The value with this number, 0 <= number < len(self)."""
        chosen = []
        for part in self.parts:
            number, position = divmod(number, len(part))
            chosen.append(part[position])
        return self.pattern.format(*chosen)

    def deck(self, size: int, rng: random.Random) -> list[str]:
        """Draw `size` values, all different; a larger deck than the pool goes through the pool again and again."""
        values: list[str] = []
        while len(values) < size:
            values += [self.value(n) for n in rng.sample(range(len(self)), min(len(self), size - len(values)))]
        return values


def _pool(pattern: str, *parts: str) -> Pool:
    """Parts are written as one string each: words separated by white space, with `_` for a space inside a part."""
    return Pool(pattern, tuple(tuple(word.replace("_", " ") for word in part.split()) for part in parts))


DAYS = " ".join(str(day) for day in range(1, 29))
MONTHS = "January February March April May June July August September October November December"
YEARS = " ".join(str(year) for year in range(1921, 1996))

PEOPLE = _pool(
    "{} {}{}",
    "Adeva Belmo Cerian Dorane Eskil Fenna Gavril Hesper Idony Jorun Kelda Lucan Mirela Nevin Odalys Perrin Quilla "
    "Rasmin Sorrel Tavish Umbra Velda Wystan Xanthe Yoren Zelig Alaric Bettine Corvin Delphe Ersa Florin Gisla Halvar "
    "Ismeny Jessamy Kasper Liora Mattis Nerine Oswin Petra Roswen Sivert Thessa Ulric Vanya Wenna",
    "Ash Brim Calder Dun Elv Far Grim Hol Ing Jar Kes Lang Mar Nor Oss Pell Quin Rav Sel Thorn Und Var Wex Yar Zand "
    "Bel Cor Dray Fen Gar",
    "acre by dale ett field gate holm ison jay kirk low moor nell over pike quist rund strom tree uvre vane wick yer",
)

TOWN = _pool(
    "{}{}",
    "Aldr Bracken Cind Drav Ebber Frost Gull Harrow Ister Juni Karv Lodd Merr Nettl Orm Pollen Quarr Rusk Skell Tarn "
    "Ulm Vess Wyn Yarr Zell",
    "avik bourne cester deep egg fjord grad haven ismouth keld mond ness opolis port quay reach stead thorpe unda wold",
)
OCCUPATION = _pool(
    "{} {}",
    "barometer bell boat book candle carpet clock comb dam dome ferry glove harp kite lamp globe lens map mill mirror "
    "pearl puppet railway rope saddle sail sundial tapestry telescope well",
    "appraiser builder curator designer inspector painter restorer surveyor trader tuner",
)
INSTRUMENT = _pool(
    "{} {}",
    "alto bass baritone concert court double field pocket river soprano tenor travelling",
    "bagpipe cello clavichord dulcimer fiddle flute gamba harmonica lute mandolin oboe rebec sitar spinet trumpet "
    "viola xylophone zither",
)
PET = _pool(
    "{} called {}",
    "badger cockatoo donkey ferret gecko goose hedgehog heron jackdaw kitten lynx magpie newt parrot rabbit "
    "raven salamander tortoise terrier weasel",
    "Biscuit Clover Dumpling Echo Figment Ginger Hobnob Inkling Jigsaw Kettle Lantern Muffin Nimbus Oatcake Pickle "
    "Quiver Rumpus Sprocket Thimble Waffle",
)
AWARD = _pool(
    "{} {} {}",
    "Amber Bronze Cobalt Crimson Emerald Golden Indigo Ivory Jade Opal Pewter Ruby Sapphire Scarlet Silver Topaz",
    "Anchor Beacon Compass Falcon Feather Hammer Harp Laurel Oak Quill Salmon Star Thistle Torch Wheel Willow",
    "Cup Medal Prize Ribbon",
)
BOOK = _pool(
    "The {} of {}",
    "Apprentice Bellringer Cartographer Daughter Envoy Ferryman Gardener Heir Innkeeper Juggler Keeper Librarian "
    "Merchant Navigator Orchard Piper Queen Riddle Smuggler Tailor",
    "Ashen_Bay Blackwater Cold_Harbour Dusk_Hollow Eastmarch Foxglove_Hill Gallows_Green Hazel_Row Iron_Bridge "
    "Juniper_Mill Kingfisher_Weir Long_Meadow Mistral_Point Nine_Elms Old_Saltings Petrel_Rock Quarry_Lane Rook_Tower "
    "Stonecrop Tidewater",
)
STREET = _pool(
    "{} {}",
    "Acorn Barley Cinder Damson Elder Flint Garnet Heather Ivy Jasmine Kelp Lichen Mallow Nutmeg Ochre Poppy Quince "
    "Rowan Sedge Tansy Vetch Willow Yarrow",
    "Alley Close Crescent Drive Lane Mews Parade Row Square Street Terrace Walk",
)
BIRTHDAY = _pool("{} {}, {}", MONTHS, DAYS, YEARS)
MENTOR = _pool(
    "{} {}{}",
    "Brother Captain Dame Deacon Doctor Father Judge Lady Lord Madam Maestro Master Professor Sister",
    "Abb Bax Crum Dinn Ecc Fitt Gosl Hibb Jopp Kipp Lidd Mopp Nutt Pebb Quigg Rudd Snell Tubb Vosp Wigg",
    "am erly ingham leston ock orth ridge sby ton well",
)
DISH = _pool(
    "{} {} with {}",
    "baked braised charred chilled fried grilled pickled poached roasted smoked stewed stuffed",
    "artichokes beetroot cabbage carp chestnuts cod crab duck eel leeks lentils mackerel marrow mushrooms mutton "
    "parsnips pheasant plums pumpkin quail squid trout turnips veal",
    "almonds barley capers dill fennel honey lemon mint mustard nutmeg olives saffron sage tarragon walnuts",
)

COUNTRY = _pool(
    "{}{}", "Arb Bost Cal Dem Est Gorm Hal Jast Kol Lav Mont Nim Pel Sarm Tol Ur Vald", "adia erra ilia onia uria ysta"
)
CAPITAL = _pool(
    "{}{}", "Alba Bri Castra Dova Ela Fior Grava Hesta Ilva Lumi Mar Nova", "burg dell font gorod lis mere polis ros"
)
RIVER = _pool("{}{}", "Am Bren Chal Dess El Fal Gress Ith Lorr Mess Nar Ott", "ava een ique oon orra una ynd")
MOUNTAIN = _pool("Mount {}{}", "Ag Bar Cro Dra Ek Fa Gra Ho Kra Lu", "dun gorn kel lach mas nor thane zar")
CURRENCY = _pool("{}{}", "bel cra dor fle gul kro lem mar pal tal", "dine kin lar mint pos rin stel zo")
LANGUAGE = _pool("{}{}", "Aru Bani Ceto Dula Fero Hemu Kiri Lona Moru Nabi", "dic gese kan lish nese rian tic vene")

NOVEL = _pool(
    "{} {}",
    "Autumn Bitter Crooked Distant Empty Frozen Hidden Silent",
    "Gardens Harbours Letters Mornings Stairs Winters",
)
OPERA = _pool(
    "{} in {}", "Angels Bandits Carnival Doves Exile Masks Sirens Weddings", "Arcady Brume Corsica Elysium Tunis"
)
MACHINE = _pool(
    "{} {}", "copper folding magnetic rolling singing steam whirling", "abacus bellows crane loom plough pump"
)
DISCOVERY = _pool("{} {}", "comet moon nebula planet", "Aster Boreas Cyrene Hyas Ligeia Nyx Phaon Themis")

CREATURE = _pool(
    "{} {}",
    "barking crooked grinning hollow limping rattling sleepless weeping whistling",
    "banshee boggart bogle ghoul goblin gremlin hag imp kobold redcap troll wight",
)
SUBSTANCE = _pool(
    "{}{}",
    "bane blight dread gloom gnarl hex murk rue wither",
    "bark berry dust horn moss root salt sap thorn wort",
)
COLOUR = _pool("{}", "amber azure copper crimson ivory lilac ochre russet silver teal umber violet")
