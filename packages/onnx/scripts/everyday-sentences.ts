/**
 * Everyday sentences, written for this purpose and learnt from by no model: what people type, which is not how
 * a declaration of rights speaks. `lookedAt` were looked at while the trainer's settings were chosen; `fresh` were not.
 */
export interface EverydaySentences {
  readonly lookedAt: readonly string[]
  readonly fresh: readonly string[]
}

/** By BCP 47 tag. Only languages whose sentences are beyond doubt are here. */
export const everydaySentences: Readonly<Record<string, EverydaySentences>> = {
  ar: {
    lookedAt: ['أين محطة القطار؟', 'أريد فنجانين من القهوة من فضلك.'],
    fresh: ['الطقس جميل جدا اليوم.', 'متى يبدأ الاجتماع غدا؟'],
  },
  be: {
    lookedAt: ['Дзе знаходзіцца вакзал?', 'Дзве кавы, калі ласка.'],
    fresh: ['Сёння вельмі добрае надвор’е.', 'Калі заўтра пачынаецца сустрэча?'],
  },
  bg: {
    lookedAt: ['Къде е гарата?', 'Бих искал две кафета, моля.'],
    fresh: ['Днес времето е много хубаво.', 'Кога започва срещата утре?'],
  },
  bn: {
    lookedAt: ['রেল স্টেশন কোথায়?', 'আমি দুই কাপ কফি চাই।'],
    fresh: ['আজ আবহাওয়া খুব সুন্দর।', 'কাল সভা কখন শুরু হবে?'],
  },
  ca: {
    lookedAt: ["On és l'estació de tren?", 'Voldria dos cafès, si us plau.'],
    fresh: ['Avui fa molt bon temps.', 'A quina hora comença la reunió de demà?'],
  },
  cs: {
    lookedAt: ['Kde je vlakové nádraží?', 'Chtěl bych dvě kávy, prosím.'],
    fresh: ['Dnes je velmi hezké počasí.', 'V kolik hodin začíná zítra schůzka?'],
  },
  cy: {
    lookedAt: ["Ble mae'r orsaf drenau?", 'Hoffwn i gael dau goffi, os gwelwch yn dda.'],
    fresh: ["Mae'r tywydd yn braf iawn heddiw.", "Pryd mae'r cyfarfod yn dechrau yfory?"],
  },
  da: {
    lookedAt: ['Hvor er banegården?', 'Jeg vil gerne have to kopper kaffe, tak.'],
    fresh: ['Vejret er meget smukt i dag.', 'Hvornår begynder mødet i morgen?'],
  },
  de: {
    lookedAt: ['Wo ist der Bahnhof?', 'Ich hätte gern zwei Tassen Kaffee, bitte.'],
    fresh: ['Das Wetter ist heute sehr schön.', 'Wann beginnt morgen die Besprechung?'],
  },
  el: {
    lookedAt: ['Πού είναι ο σταθμός του τρένου;', 'Θα ήθελα δύο καφέδες, παρακαλώ.'],
    fresh: ['Ο καιρός είναι πολύ ωραίος σήμερα.', 'Πότε αρχίζει η συνάντηση αύριο;'],
  },
  en: {
    lookedAt: ['Where is the train station?', 'I would like two cups of coffee, please.'],
    fresh: ['The weather is very nice today.', 'When does the meeting start tomorrow?'],
  },
  es: {
    lookedAt: ['¿Dónde está la estación?', 'Quisiera dos tazas de café, por favor.'],
    fresh: ['Hoy hace muy buen tiempo.', '¿A qué hora empieza la reunión de mañana?'],
  },
  et: {
    lookedAt: ['Kus on raudteejaam?', 'Ma sooviksin kahte tassi kohvi, palun.'],
    fresh: ['Täna on väga ilus ilm.', 'Mis kell homme koosolek algab?'],
  },
  fa: {
    lookedAt: ['ایستگاه قطار کجاست؟', 'لطفا دو فنجان قهوه می‌خواهم.'],
    fresh: ['امروز هوا خیلی خوب است.', 'جلسه فردا چه ساعتی شروع می‌شود؟'],
  },
  fi: {
    lookedAt: ['Missä on rautatieasema?', 'Haluaisin kaksi kuppia kahvia, kiitos.'],
    fresh: ['Tänään on todella kaunis sää.', 'Milloin kokous alkaa huomenna?'],
  },
  fr: {
    lookedAt: ['Où est la gare ?', 'Je voudrais deux tasses de café, s’il vous plaît.'],
    fresh: ['Il fait très beau aujourd’hui.', 'À quelle heure commence la réunion demain ?'],
  },
  ga: {
    lookedAt: ['Cá bhfuil an stáisiún traenach?', 'Ba mhaith liom dhá chupán caife, más é do thoil é.'],
    fresh: ['Tá an aimsir go hálainn inniu.', 'Cathain a thosaíonn an cruinniú amárach?'],
  },
  he: {
    lookedAt: ['איפה תחנת הרכבת?', 'אני רוצה שתי כוסות קפה, בבקשה.'],
    fresh: ['מזג האוויר יפה מאוד היום.', 'מתי מתחילה הפגישה מחר?'],
  },
  hi: {
    lookedAt: ['रेलवे स्टेशन कहाँ है?', 'मुझे दो कप कॉफ़ी चाहिए।'],
    fresh: ['आज मौसम बहुत अच्छा है।', 'कल बैठक कब शुरू होगी?'],
  },
  hr: {
    lookedAt: ['Gdje je željeznički kolodvor?', 'Htio bih dvije kave, molim.'],
    fresh: ['Danas je vrijeme vrlo lijepo.', 'Kada sutra počinje sastanak?'],
  },
  hu: {
    lookedAt: ['Hol van a vasútállomás?', 'Két kávét kérek szépen.'],
    fresh: ['Ma nagyon szép idő van.', 'Mikor kezdődik holnap a megbeszélés?'],
  },
  hy: {
    lookedAt: ['Որտե՞ղ է կայարանը։', 'Երկու սուրճ, խնդրում եմ։'],
    fresh: ['Այսօր եղանակը շատ լավն է։', 'Ե՞րբ է սկսվում ժողովը վաղը։'],
  },
  id: {
    lookedAt: ['Di mana stasiun kereta api?', 'Saya ingin dua cangkir kopi.'],
    fresh: ['Cuaca hari ini sangat bagus.', 'Jam berapa rapat dimulai besok?'],
  },
  is: {
    lookedAt: ['Hvar er lestarstöðin?', 'Ég ætla að fá tvo kaffibolla, takk.'],
    fresh: ['Veðrið er mjög gott í dag.', 'Hvenær byrjar fundurinn á morgun?'],
  },
  it: {
    lookedAt: ['Dov’è la stazione?', 'Vorrei due tazze di caffè, per favore.'],
    fresh: ['Oggi il tempo è molto bello.', 'A che ora comincia la riunione domani?'],
  },
  ja: {
    lookedAt: ['駅はどこですか。', 'コーヒーを二つお願いします。'],
    fresh: ['今日はとてもいい天気ですね。', '明日の会議は何時に始まりますか。'],
  },
  ka: {
    lookedAt: ['სად არის სადგური?', 'ორი ყავა, თუ შეიძლება.'],
    fresh: ['დღეს ძალიან კარგი ამინდია.', 'როდის იწყება ხვალ შეხვედრა?'],
  },
  ko: {
    lookedAt: ['기차역이 어디에 있습니까?', '커피 두 잔 주세요.'],
    fresh: ['오늘 날씨가 아주 좋네요.', '내일 회의는 몇 시에 시작해요?'],
  },
  lt: {
    lookedAt: ['Kur yra geležinkelio stotis?', 'Norėčiau dviejų puodelių kavos, prašau.'],
    fresh: ['Šiandien labai gražus oras.', 'Kada rytoj prasideda susirinkimas?'],
  },
  lv: {
    lookedAt: ['Kur ir dzelzceļa stacija?', 'Es vēlos divas tases kafijas, lūdzu.'],
    fresh: ['Šodien ir ļoti jauks laiks.', 'Cikos rīt sākas sapulce?'],
  },
  nb: {
    lookedAt: ['Hvor er jernbanestasjonen?', 'Jeg vil gjerne ha to kopper kaffe, takk.'],
    fresh: ['Været er veldig fint i dag.', 'Når begynner møtet i morgen?'],
  },
  nl: {
    lookedAt: ['Waar is het treinstation?', 'Ik wil graag twee kopjes koffie, alstublieft.'],
    fresh: ['Het weer is vandaag heel mooi.', 'Hoe laat begint de vergadering morgen?'],
  },
  pl: {
    lookedAt: ['Gdzie jest dworzec kolejowy?', 'Poproszę dwie filiżanki kawy.'],
    fresh: ['Dzisiaj jest bardzo ładna pogoda.', 'O której godzinie zaczyna się jutro spotkanie?'],
  },
  pt: {
    lookedAt: ['Onde fica a estação de trem?', 'Eu queria dois cafés, por favor.'],
    fresh: ['O tempo está muito bom hoje.', 'A que horas começa a reunião amanhã?'],
  },
  ro: {
    lookedAt: ['Unde este gara?', 'Aș dori două cafele, vă rog.'],
    fresh: ['Vremea este foarte frumoasă astăzi.', 'La ce oră începe ședința mâine?'],
  },
  ru: {
    lookedAt: ['Где находится вокзал?', 'Две чашки кофе, пожалуйста.'],
    fresh: ['Сегодня очень хорошая погода.', 'Во сколько завтра начинается собрание?'],
  },
  sk: {
    lookedAt: ['Kde je železničná stanica?', 'Prosím si dve kávy.'],
    fresh: ['Dnes je veľmi pekné počasie.', 'O koľkej sa zajtra začína stretnutie?'],
  },
  sl: {
    lookedAt: ['Kje je železniška postaja?', 'Rad bi dve kavi, prosim.'],
    fresh: ['Danes je zelo lepo vreme.', 'Kdaj se jutri začne sestanek?'],
  },
  sr: {
    lookedAt: ['Где је железничка станица?', 'Желео бих две кафе, молим вас.'],
    fresh: ['Данас је време веома лепо.', 'Када сутра почиње састанак?'],
  },
  sv: {
    lookedAt: ['Var ligger tågstationen?', 'Jag skulle vilja ha två koppar kaffe, tack.'],
    fresh: ['Vädret är mycket fint idag.', 'När börjar mötet imorgon?'],
  },
  sw: {
    lookedAt: ['Kituo cha treni kiko wapi?', 'Ningependa vikombe viwili vya kahawa, tafadhali.'],
    fresh: ['Hali ya hewa ni nzuri sana leo.', 'Mkutano unaanza saa ngapi kesho?'],
  },
  ta: {
    lookedAt: ['ரயில் நிலையம் எங்கே உள்ளது?', 'எனக்கு இரண்டு காபி வேண்டும்.'],
    fresh: ['இன்று வானிலை மிகவும் நன்றாக உள்ளது.', 'நாளை கூட்டம் எப்போது தொடங்கும்?'],
  },
  te: {
    lookedAt: ['రైల్వే స్టేషన్ ఎక్కడ ఉంది?', 'నాకు రెండు కాఫీలు కావాలి.'],
    fresh: ['ఈ రోజు వాతావరణం చాలా బాగుంది.', 'రేపు సమావేశం ఎప్పుడు మొదలవుతుంది?'],
  },
  th: {
    lookedAt: ['สถานีรถไฟอยู่ที่ไหน', 'ขอกาแฟสองแก้วครับ'],
    fresh: ['วันนี้อากาศดีมาก', 'พรุ่งนี้ประชุมเริ่มกี่โมง'],
  },
  tr: {
    lookedAt: ['Tren istasyonu nerede?', 'İki fincan kahve istiyorum, lütfen.'],
    fresh: ['Bugün hava çok güzel.', 'Yarın toplantı saat kaçta başlıyor?'],
  },
  uk: {
    lookedAt: ['Де знаходиться вокзал?', 'Дві чашки кави, будь ласка.'],
    fresh: ['Сьогодні дуже гарна погода.', 'О котрій годині завтра починається зустріч?'],
  },
  ur: {
    lookedAt: ['ریلوے اسٹیشن کہاں ہے؟', 'مجھے دو کپ کافی چاہیے۔'],
    fresh: ['آج موسم بہت اچھا ہے۔', 'کل میٹنگ کب شروع ہوگی؟'],
  },
  vi: {
    lookedAt: ['Nhà ga ở đâu?', 'Tôi muốn hai tách cà phê.'],
    fresh: ['Hôm nay thời tiết rất đẹp.', 'Ngày mai cuộc họp bắt đầu lúc mấy giờ?'],
  },
  zh: {
    lookedAt: ['火车站在哪里？', '请给我两杯咖啡。'],
    fresh: ['今天天气很好。', '明天的会议几点开始？'],
  },
}
