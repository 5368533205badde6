"""What the Asterisk prompts say, as far as their names tell it for certain.

A prompt's file name is a key, not a transcript: `digits/7` is "seven" in English and "siete" in Spanish, but what
`vm-next` says is anybody's guess. Words whose form is open (Russian months in the nominative or the genitive,
ordinals in either gender, "cien" or "ciento") are left out rather than guessed.
"""

_NUMBERS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis "
    "diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis "
    "veintisiete veintiocho veintinueve",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept "
    "dix-huit dix-neuf vingt",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici "
    "sedici diciassette diciotto diciannove venti",
    "ru": "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать "
    "четырнадцать пятнадцать шестнадцать семнадцать восемнадцать девятнадцать двадцать",
}
_TENS = {  # 30, 40, ... 90
    "en": "thirty forty fifty sixty seventy eighty ninety",
    "es": "treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "fr": "trente quarante cinquante soixante soixante-dix quatre-vingts quatre-vingt-dix",
    "it": "trenta quaranta cinquanta sessanta settanta ottanta novanta",
    "ru": "тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
}
_HUNDREDS = {  # 200, 300, ... 900
    "es": "doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos",
}
_ORDINALS = {
    "en": "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
}
_DAYS = {  # day-0 is Sunday
    "en": "Sunday Monday Tuesday Wednesday Thursday Friday Saturday",
    "es": "domingo lunes martes miércoles jueves viernes sábado",
    "fr": "dimanche lundi mardi mercredi jeudi vendredi samedi",
    "it": "domenica lunedì martedì mercoledì giovedì venerdì sabato",
    "ru": "воскресенье понедельник вторник среда четверг пятница суббота",
}
_MONTHS = {  # mon-0 is January
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
}
_ALPHABET = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo "
    "sierra tango uniform victor whiskey x-ray yankee zulu"
)
_WORDS = {  # prompt -> one word a language
    "digits/thousand": {"en": "thousand", "es": "mil", "fr": "mille", "it": "mille"},
    "digits/million": {"en": "million", "es": "millón", "fr": "million", "it": "milione"},
    "digits/hundred": {"en": "hundred", "fr": "cent", "it": "cento"},
    "digits/billion": {"en": "billion"},
    "digits/minus": {"en": "minus", "es": "menos", "fr": "moins", "it": "meno", "ru": "минус"},
    "digits/today": {"en": "today", "es": "hoy", "fr": "aujourd'hui", "it": "oggi", "ru": "сегодня"},
    "digits/tomorrow": {"en": "tomorrow", "es": "mañana", "fr": "demain", "it": "domani", "ru": "завтра"},
    "digits/yesterday": {"en": "yesterday", "es": "ayer", "fr": "hier", "it": "ieri", "ru": "вчера"},
    "digits/dollars": {"en": "dollars", "es": "dólares", "fr": "dollars", "it": "dollari"},
    "digits/1F": {"es": "una"},
    "digits/and": {"es": "y"},
    "digits/et": {"fr": "et"},
    "digits/e": {"it": "e"},
    "hours": {"en": "hours", "es": "horas", "fr": "heures", "it": "ore"},
    "minutes": {"en": "minutes", "es": "minutos", "fr": "minutes", "it": "minuti"},
    "seconds": {"en": "seconds", "es": "segundos", "fr": "secondes", "it": "secondi"},
    "minute": {"en": "minute", "fr": "minute"},
    "second": {"en": "second", "fr": "seconde"},
    "vm-and": {"en": "and", "es": "y", "fr": "et", "it": "e", "ru": "и"},
    "letters/exclaimation-point": {"en": "exclamation point"},
    "letters/zed": {"en": "zed"},
    "phonetic/9_p": {"en": "niner"},
    "im-sorry": {"en": "I'm sorry"},
    "digits/oclock": {"en": "o'clock"},
    "vm-INBOX": {"en": "inbox"},
    "hello-world": {"en": "hello, world"},
}
_ITALIAN_ELISIONS = ("vent", "trent", "quarant", "cinquant", "sessant", "settant", "ottant", "novant")
_PLAIN_ENGLISH = (  # prompts whose name is, but for hyphens, the English words
    "activated added calling cancelled de-activated disabled enabled do-not-disturb extension for goodbye hello is "
    "is-in-use is-set-to location lowercase uppercase number one-moment-please please-try-again removed "
    "something-terribly-wrong speed-dial telephone-number time to-call-this-number to-extension to-listen-to-it "
    "with you-entered your call-waiting call-forwarding vm-message vm-messages vm-password vm-press vm-received "
    "vm-extension vm-first vm-last vm-from vm-minutes vm-no vm-goodbye vm-for vm-Friends vm-Family vm-Work vm-Old "
    "vm-Urgent digits/star digits/pound digits/at letters/asterisk letters/at letters/dash letters/dot "
    "letters/equals letters/plus letters/slash letters/space"
)
EFFECTS = {  # prompts that are no speech
    "beep": "a beep",
    "beeperr": "an error tone",
    "ascending-2tone": "two rising tones",
    "descending-2tone": "two falling tones",
    "tt-monkeys": "screeching monkeys",
}


def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}

    def enter(pattern: str, keys: range | str, rows: dict[str, str]) -> None:
        for language, row in rows.items():
            for key, word in zip(keys, row.split(), strict=False):
                table.setdefault(pattern.format(key), {})[language] = word

    enter("digits/{}", range(0, 30), _NUMBERS)
    enter("digits/{}", range(30, 100, 10), _TENS)
    enter("digits/{}", range(200, 1000, 100), _HUNDREDS)
    enter("digits/h-{}", range(1, 21), _ORDINALS)
    enter("digits/day-{}", range(7), _DAYS)
    enter("digits/mon-{}", range(12), _MONTHS)
    letters = "abcdefghijklmnopqrstuvwxyz"
    enter("letters/{}", letters, dict.fromkeys(("en", "es", "fr", "it"), " ".join(letters.upper())))
    enter("phonetic/{}_p", letters, {"en": _ALPHABET})
    for tens, stem in enumerate(_ITALIAN_ELISIONS, start=2):
        table.setdefault(f"digits/{tens}1", {})["it"] = f"{stem}uno"
        table.setdefault(f"digits/{tens}8", {})["it"] = f"{stem}otto"
    for name in _PLAIN_ENGLISH.split():
        words = name.rpartition("/")[2].removeprefix("vm-").replace("-", " ")
        table[name] = {"en": words.lower()}
    table["de-activated"] = {"en": "deactivated"}
    return {**table, **_WORDS}


TEXTS = _table()
