# SPDX-License-Identifier: Apache-2.0
"""What the demonstration model is taught: tables of facts, nothing else.

Every table is plain data so that it can be read and corrected without reading
any code.  make_corpus.py turns the tables into questions, answers and prose.
Where a state has several capitals, or a disputed one, one usual choice is
listed; the model is a demonstration, not an atlas.
"""

# country | capital | continent | further names of the same country (comma separated)
COUNTRIES = """
Afghanistan|Kabul|Asia|
Albania|Tirana|Europe|
Algeria|Algiers|Africa|
Andorra|Andorra la Vella|Europe|
Angola|Luanda|Africa|
Antigua and Barbuda|Saint John's|North America|
Argentina|Buenos Aires|South America|
Armenia|Yerevan|Asia|
Australia|Canberra|Oceania|
Austria|Vienna|Europe|
Azerbaijan|Baku|Asia|
the Bahamas|Nassau|North America|
Bahrain|Manama|Asia|
Bangladesh|Dhaka|Asia|
Barbados|Bridgetown|North America|
Belarus|Minsk|Europe|
Belgium|Brussels|Europe|
Belize|Belmopan|North America|
Benin|Porto-Novo|Africa|
Bhutan|Thimphu|Asia|
Bolivia|Sucre|South America|
Bosnia and Herzegovina|Sarajevo|Europe|
Botswana|Gaborone|Africa|
Brazil|Brasília|South America|
Brunei|Bandar Seri Begawan|Asia|
Bulgaria|Sofia|Europe|
Burkina Faso|Ouagadougou|Africa|
Burundi|Gitega|Africa|
Cambodia|Phnom Penh|Asia|
Cameroon|Yaoundé|Africa|
Canada|Ottawa|North America|
Cape Verde|Praia|Africa|
the Central African Republic|Bangui|Africa|
Chad|N'Djamena|Africa|
Chile|Santiago|South America|
China|Beijing|Asia|
Colombia|Bogotá|South America|
the Comoros|Moroni|Africa|
Costa Rica|San José|North America|
Croatia|Zagreb|Europe|
Cuba|Havana|North America|
Cyprus|Nicosia|Europe|
the Czech Republic|Prague|Europe|Czechia
the Democratic Republic of the Congo|Kinshasa|Africa|
Denmark|Copenhagen|Europe|
Djibouti|Djibouti|Africa|
Dominica|Roseau|North America|
the Dominican Republic|Santo Domingo|North America|
East Timor|Dili|Asia|Timor-Leste
Ecuador|Quito|South America|
Egypt|Cairo|Africa|
El Salvador|San Salvador|North America|
Equatorial Guinea|Malabo|Africa|
Eritrea|Asmara|Africa|
Estonia|Tallinn|Europe|
Eswatini|Mbabane|Africa|
Ethiopia|Addis Ababa|Africa|
Fiji|Suva|Oceania|
Finland|Helsinki|Europe|
France|Paris|Europe|
Gabon|Libreville|Africa|
the Gambia|Banjul|Africa|
Georgia|Tbilisi|Asia|
Germany|Berlin|Europe|
Ghana|Accra|Africa|
Greece|Athens|Europe|
Grenada|Saint George's|North America|
Guatemala|Guatemala City|North America|
Guinea|Conakry|Africa|
Guinea-Bissau|Bissau|Africa|
Guyana|Georgetown|South America|
Haiti|Port-au-Prince|North America|
Honduras|Tegucigalpa|North America|
Hungary|Budapest|Europe|
Iceland|Reykjavík|Europe|
India|New Delhi|Asia|
Indonesia|Jakarta|Asia|
Iran|Tehran|Asia|
Iraq|Baghdad|Asia|
Ireland|Dublin|Europe|
Israel|Jerusalem|Asia|
Italy|Rome|Europe|
the Ivory Coast|Yamoussoukro|Africa|
Jamaica|Kingston|North America|
Japan|Tokyo|Asia|
Jordan|Amman|Asia|
Kazakhstan|Astana|Asia|
Kenya|Nairobi|Africa|
Kiribati|South Tarawa|Oceania|
Kosovo|Pristina|Europe|
Kuwait|Kuwait City|Asia|
Kyrgyzstan|Bishkek|Asia|
Laos|Vientiane|Asia|
Latvia|Riga|Europe|
Lebanon|Beirut|Asia|
Lesotho|Maseru|Africa|
Liberia|Monrovia|Africa|
Libya|Tripoli|Africa|
Liechtenstein|Vaduz|Europe|
Lithuania|Vilnius|Europe|
Luxembourg|Luxembourg City|Europe|
Madagascar|Antananarivo|Africa|
Malawi|Lilongwe|Africa|
Malaysia|Kuala Lumpur|Asia|
the Maldives|Malé|Asia|
Mali|Bamako|Africa|
Malta|Valletta|Europe|
the Marshall Islands|Majuro|Oceania|
Mauritania|Nouakchott|Africa|
Mauritius|Port Louis|Africa|
Mexico|Mexico City|North America|
Micronesia|Palikir|Oceania|
Moldova|Chișinău|Europe|
Monaco|Monaco|Europe|
Mongolia|Ulaanbaatar|Asia|
Montenegro|Podgorica|Europe|
Morocco|Rabat|Africa|
Mozambique|Maputo|Africa|
Myanmar|Naypyidaw|Asia|Burma
Namibia|Windhoek|Africa|
Nauru|Yaren|Oceania|
Nepal|Kathmandu|Asia|
the Netherlands|Amsterdam|Europe|Holland
New Zealand|Wellington|Oceania|
Nicaragua|Managua|North America|
Niger|Niamey|Africa|
Nigeria|Abuja|Africa|
North Korea|Pyongyang|Asia|
North Macedonia|Skopje|Europe|
Norway|Oslo|Europe|
Oman|Muscat|Asia|
Pakistan|Islamabad|Asia|
Palau|Ngerulmud|Oceania|
Palestine|Ramallah|Asia|
Panama|Panama City|North America|
Papua New Guinea|Port Moresby|Oceania|
Paraguay|Asunción|South America|
Peru|Lima|South America|
the Philippines|Manila|Asia|
Poland|Warsaw|Europe|
Portugal|Lisbon|Europe|
Qatar|Doha|Asia|
the Republic of the Congo|Brazzaville|Africa|
Romania|Bucharest|Europe|
Russia|Moscow|Europe|
Rwanda|Kigali|Africa|
Saint Kitts and Nevis|Basseterre|North America|
Saint Lucia|Castries|North America|
Saint Vincent and the Grenadines|Kingstown|North America|
Samoa|Apia|Oceania|
San Marino|San Marino|Europe|
São Tomé and Príncipe|São Tomé|Africa|
Saudi Arabia|Riyadh|Asia|
Senegal|Dakar|Africa|
Serbia|Belgrade|Europe|
the Seychelles|Victoria|Africa|
Sierra Leone|Freetown|Africa|
Singapore|Singapore|Asia|
Slovakia|Bratislava|Europe|
Slovenia|Ljubljana|Europe|
the Solomon Islands|Honiara|Oceania|
Somalia|Mogadishu|Africa|
South Africa|Pretoria|Africa|
South Korea|Seoul|Asia|
South Sudan|Juba|Africa|
Spain|Madrid|Europe|
Sri Lanka|Sri Jayawardenepura Kotte|Asia|
Sudan|Khartoum|Africa|
Suriname|Paramaribo|South America|
Sweden|Stockholm|Europe|
Switzerland|Bern|Europe|
Syria|Damascus|Asia|
Taiwan|Taipei|Asia|
Tajikistan|Dushanbe|Asia|
Tanzania|Dodoma|Africa|
Thailand|Bangkok|Asia|
Togo|Lomé|Africa|
Tonga|Nuku'alofa|Oceania|
Trinidad and Tobago|Port of Spain|North America|
Tunisia|Tunis|Africa|
Turkey|Ankara|Asia|
Turkmenistan|Ashgabat|Asia|
Tuvalu|Funafuti|Oceania|
Uganda|Kampala|Africa|
Ukraine|Kyiv|Europe|
the United Arab Emirates|Abu Dhabi|Asia|the UAE
the United Kingdom|London|Europe|the UK
the United States|Washington, D.C.|North America|the United States of America,the USA
Uruguay|Montevideo|South America|
Uzbekistan|Tashkent|Asia|
Vanuatu|Port Vila|Oceania|
Vatican City|Vatican City|Europe|
Venezuela|Caracas|South America|
Vietnam|Hanoi|Asia|
Yemen|Sanaa|Asia|
Zambia|Lusaka|Africa|
Zimbabwe|Harare|Africa|
"""

# country | language most people speak | currency
CULTURE = """
France|French|the euro
Germany|German|the euro
Spain|Spanish|the euro
Italy|Italian|the euro
Portugal|Portuguese|the euro
Greece|Greek|the euro
Finland|Finnish|the euro
Austria|German|the euro
Ireland|English|the euro
the Netherlands|Dutch|the euro
Estonia|Estonian|the euro
Poland|Polish|the zloty
the Czech Republic|Czech|the koruna
Hungary|Hungarian|the forint
Sweden|Swedish|the krona
Norway|Norwegian|the krone
Denmark|Danish|the krone
Iceland|Icelandic|the krona
the United Kingdom|English|the pound
the United States|English|the dollar
Canada|English and French|the dollar
Mexico|Spanish|the peso
Brazil|Portuguese|the real
Argentina|Spanish|the peso
Chile|Spanish|the peso
Peru|Spanish|the sol
Japan|Japanese|the yen
China|Chinese|the yuan
South Korea|Korean|the won
India|Hindi and English|the rupee
Thailand|Thai|the baht
Vietnam|Vietnamese|the dong
Turkey|Turkish|the lira
Russia|Russian|the ruble
Ukraine|Ukrainian|the hryvnia
Egypt|Arabic|the pound
Morocco|Arabic|the dirham
Saudi Arabia|Arabic|the riyal
Israel|Hebrew|the shekel
Iran|Persian|the rial
Kenya|Swahili and English|the shilling
Australia|English|the dollar
New Zealand|English|the dollar
Indonesia|Indonesian|the rupiah
Romania|Romanian|the leu
Bulgaria|Bulgarian|the euro
Mongolia|Mongolian|the tugrik
"""

# element | symbol | atomic number
ELEMENTS = """
hydrogen|H|1
helium|He|2
lithium|Li|3
carbon|C|6
nitrogen|N|7
oxygen|O|8
fluorine|F|9
neon|Ne|10
sodium|Na|11
magnesium|Mg|12
aluminium|Al|13
silicon|Si|14
phosphorus|P|15
sulfur|S|16
chlorine|Cl|17
argon|Ar|18
potassium|K|19
calcium|Ca|20
titanium|Ti|22
chromium|Cr|24
iron|Fe|26
cobalt|Co|27
nickel|Ni|28
copper|Cu|29
zinc|Zn|30
silver|Ag|47
tin|Sn|50
iodine|I|53
tungsten|W|74
platinum|Pt|78
gold|Au|79
mercury|Hg|80
lead|Pb|82
uranium|U|92
"""

OPPOSITES = """
hot|cold
big|small
tall|short
fast|slow
happy|sad
light|dark
day|night
up|down
left|right
open|closed
full|empty
hard|soft
old|new
early|late
rich|poor
wet|dry
loud|quiet
strong|weak
near|far
high|low
thick|thin
wide|narrow
heavy|light
clean|dirty
brave|afraid
first|last
inside|outside
push|pull
win|lose
buy|sell
give|take
begin|end
love|hate
sweet|sour
rough|smooth
deep|shallow
true|false
before|after
north|south
east|west
laugh|cry
summer|winter
friend|enemy
question|answer
always|never
remember|forget
"""

# thing | usual colour
COLOURS = """
a banana|yellow
a lemon|yellow
the sky|blue
the sea|blue
grass|green
a frog|green
snow|white
milk|white
coal|black
a crow|black
blood|red
a tomato|red
a strawberry|red
an orange|orange
a carrot|orange
a pumpkin|orange
chocolate|brown
a flamingo|pink
an elephant|grey
a polar bear|white
the sun|yellow
a leaf in summer|green
a plum|purple
a cucumber|green
"""

# two colours | what they give
MIXES = """
red|yellow|orange
blue|yellow|green
red|blue|purple
black|white|grey
red|white|pink
"""

# animal | young | sound or movement | home | food | group | legs
ANIMALS = """
dog|puppy|barks|in a house with people|meat and dog food|mammal|4
cat|kitten|meows|in a house with people|mice and fish|mammal|4
cow|calf|moos|on a farm|grass|mammal|4
horse|foal|neighs|in a stable|grass and oats|mammal|4
sheep|lamb|bleats|on a farm|grass|mammal|4
pig|piglet|oinks|on a farm|roots and vegetables|mammal|4
duck|duckling|quacks|near a pond|plants and insects|bird|2
hen|chick|clucks|in a henhouse|seeds and worms|bird|2
owl|owlet|hoots|in the forest|mice|bird|2
lion|cub|roars|in the savanna|meat|mammal|4
bear|cub|growls|in the forest|fish and berries|mammal|4
wolf|pup|howls|in the forest|meat|mammal|4
fox|kit|barks|in a den in the forest|mice and berries|mammal|4
frog|tadpole|croaks|near a pond|insects|amphibian|4
bee|larva|buzzes|in a hive|nectar|insect|6
spider|spiderling|spins webs|in a web|insects|arachnid|8
snake|snakelet|hisses|in the grass|mice|reptile|0
rabbit|kit|hops|in a burrow|grass and carrots|mammal|4
mouse|pup|squeaks|in a small hole|seeds and cheese|mammal|4
elephant|calf|trumpets|in the savanna|leaves and grass|mammal|4
goat|kid|bleats|in the mountains|grass and leaves|mammal|4
eagle|eaglet|screeches|in the mountains|fish and rabbits|bird|2
penguin|chick|waddles|on the ice in the south|fish|bird|2
whale|calf|sings|in the sea|krill and fish|mammal|0
kangaroo|joey|hops|in Australia|grass|mammal|2
monkey|infant|chatters|in the jungle|fruit and nuts|mammal|4
"""

# how many | of these | in one of those
UNITS = """
60|seconds|a minute
60|minutes|an hour
24|hours|a day
7|days|a week
12|months|a year
365|days|a year
52|weeks|a year
10|years|a decade
100|years|a century
1000|years|a millennium
100|centimetres|a metre
10|millimetres|a centimetre
1000|metres|a kilometre
1000|grams|a kilogram
1000|kilograms|a tonne
1000|millilitres|a litre
12|inches|a foot
3|feet|a yard
100|cents|a dollar
12|eggs|a dozen
8|bits|a byte
3|sides|a triangle
4|sides|a square
5|sides|a pentagon
6|sides|a hexagon
6|faces|a cube
11|players|a football team
26|letters|the English alphabet
8|planets|the solar system
7|colours|the rainbow
"""

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September "
          "October November December").split()
MONTH_LENGTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = "spring summer autumn winter".split()
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
ORDINALS = ("first second third fourth fifth sixth seventh eighth ninth tenth "
            "eleventh twelfth").split()
NUMBER_WORDS = ("zero one two three four five six seven eight nine ten eleven "
                "twelve thirteen fourteen fifteen sixteen seventeen eighteen "
                "nineteen twenty").split()

# category | members, for "Name three ..." and "Is a rose a flower?"
CATEGORIES = """
fruit|apples,bananas,pears,oranges,grapes,cherries,plums,mangoes
vegetables|carrots,potatoes,onions,cabbages,tomatoes,beans,peas,leeks
flowers|roses,tulips,daisies,lilies,violets,sunflowers,poppies
trees|oaks,pines,birches,maples,willows,palms,elms
birds|owls,eagles,ducks,penguins,crows,swans,robins,parrots
farm animals|cows,sheep,pigs,horses,goats,hens
wild animals|lions,bears,wolves,foxes,elephants,tigers
colours|red,blue,green,yellow,orange,purple,white,black
metals|gold,silver,iron,copper,tin,lead,zinc
musical instruments|pianos,violins,guitars,flutes,drums,trumpets
drinks|water,milk,tea,coffee,juice,lemonade
clothes|shirts,socks,hats,coats,gloves,shoes
"""

# English | French | German | Spanish | Italian
WORDS = """
hello|bonjour|hallo|hola|ciao
thank you|merci|danke|gracias|grazie
yes|oui|ja|sí|sì
no|non|nein|no|no
water|eau|Wasser|agua|acqua
bread|pain|Brot|pan|pane
house|maison|Haus|casa|casa
book|livre|Buch|libro|libro
cat|chat|Katze|gato|gatto
dog|chien|Hund|perro|cane
sun|soleil|Sonne|sol|sole
moon|lune|Mond|luna|luna
friend|ami|Freund|amigo|amico
night|nuit|Nacht|noche|notte
"""

# question | answer: single facts that fit no table
SINGLES = """
Who wrote Hamlet?|William Shakespeare wrote Hamlet.
Who wrote Romeo and Juliet?|William Shakespeare wrote Romeo and Juliet.
Who wrote Don Quixote?|Miguel de Cervantes wrote Don Quixote.
Who wrote War and Peace?|Leo Tolstoy wrote War and Peace.
Who wrote Pride and Prejudice?|Jane Austen wrote Pride and Prejudice.
Who wrote Alice in Wonderland?|Lewis Carroll wrote Alice in Wonderland.
Who wrote the Odyssey?|Homer wrote the Odyssey.
Who painted the Mona Lisa?|Leonardo da Vinci painted the Mona Lisa.
Who painted The Starry Night?|Vincent van Gogh painted The Starry Night.
Who composed the Moonlight Sonata?|Ludwig van Beethoven composed the Moonlight Sonata.
Who composed The Magic Flute?|Wolfgang Amadeus Mozart composed The Magic Flute.
Who discovered penicillin?|Alexander Fleming discovered penicillin.
Who discovered gravity?|Isaac Newton described the law of gravity.
Who invented the telephone?|Alexander Graham Bell invented the telephone.
Who invented the printing press?|Johannes Gutenberg invented the printing press in Europe.
Who was the first person on the Moon?|Neil Armstrong was the first person on the Moon.
Who was the first person in space?|Yuri Gagarin was the first person in space.
Who developed the theory of relativity?|Albert Einstein developed the theory of relativity.
Who wrote the first computer program?|Ada Lovelace wrote the first computer program.
In which year did people first land on the Moon?|People first landed on the Moon in 1969.
What is the largest planet?|The largest planet in the solar system is Jupiter.
What is the smallest planet?|The smallest planet in the solar system is Mercury.
Which planet is closest to the Sun?|Mercury is the planet closest to the Sun.
Which planet has the brightest rings?|Saturn is the planet with the brightest rings.
Which planet is called the red planet?|Mars is called the red planet.
What is the largest ocean?|The largest ocean is the Pacific Ocean.
What is the longest river?|The longest river is usually said to be the Nile.
What is the highest mountain?|The highest mountain is Mount Everest.
What is the largest animal?|The largest animal is the blue whale.
What is the tallest animal?|The tallest animal is the giraffe.
What is the fastest land animal?|The fastest land animal is the cheetah.
What is the largest country?|The largest country by area is Russia.
What is the smallest country?|The smallest country is Vatican City.
What is the largest continent?|The largest continent is Asia.
What is the smallest continent?|The smallest continent is Oceania.
What is the coldest continent?|The coldest continent is Antarctica.
What is the largest desert?|The largest hot desert is the Sahara.
What is the hardest natural material?|The hardest natural material is diamond.
What is the chemical formula of water?|The chemical formula of water is H2O.
What is the chemical formula of table salt?|The chemical formula of table salt is NaCl.
At what temperature does water freeze?|Water freezes at 0 degrees Celsius.
At what temperature does water boil?|Water boils at 100 degrees Celsius at sea level.
How many legs does an insect have?|An insect has 6 legs.
How many strings does a violin have?|A violin has 4 strings.
How many keys does a piano have?|A piano has 88 keys.
How many continents are there?|There are 7 continents.
How many days are there in a leap year?|There are 366 days in a leap year.
What star is closest to the Earth?|The star closest to the Earth is the Sun.
What do we call frozen water?|Frozen water is called ice.
What do bees make?|Bees make honey.
What do caterpillars turn into?|Caterpillars turn into butterflies or moths.
Where does the Sun rise?|The Sun rises in the east.
Where does the Sun set?|The Sun sets in the west.
Which animal is called the king of beasts?|The lion is called the king of beasts.
What is the first letter of the alphabet?|The first letter of the alphabet is A.
What is the last letter of the alphabet?|The last letter of the alphabet is Z.
What is the square root of 81?|The square root of 81 is 9.
What is half of 50?|Half of 50 is 25.
What is the largest organ of the human body?|The largest organ of the human body is the skin.
Which organ pumps blood?|The heart pumps blood through the body.
"""

# several wordings separated by / | answer in two sentences
EXPLANATIONS = """
Why is the sky blue?/Why does the sky look blue?/Explain why the sky is blue.|Sunlight is made of many colours, and the air scatters blue light more than red light. So blue light reaches our eyes from every part of the sky.
Why is the sunset red?/Why is the sky red in the evening?|In the evening sunlight travels through much more air before it reaches us. Most of the blue light is scattered away, and the red light remains.
Why does it rain?/How does rain form?/Where does rain come from?|Water rises from the sea as vapour and cools into tiny drops that form clouds. When the drops become heavy, they fall to the ground as rain.
Why do we have seasons?/What causes the seasons?|The axis of the Earth is tilted, so each half of the Earth leans toward the Sun for part of the year. The half that leans toward the Sun has summer, and the other half has winter.
Why do we have day and night?/What causes day and night?|The Earth turns around once every 24 hours. The side that faces the Sun has day, and the other side has night.
Why does the Moon shine?/Why is the Moon bright?|The Moon makes no light of its own. It shines because it reflects the light of the Sun.
Why does the Moon change its shape?/Why does the Moon have phases?|The Moon travels around the Earth, so we see different parts of its bright side. This makes the Moon look full, half or thin.
Why is the sea salty?/Why is sea water salty?|Rivers carry small amounts of salt from rocks into the sea. The water evaporates again, but the salt stays behind.
Why do leaves change colour in autumn?/Why do leaves turn red and yellow?|In autumn trees stop making the green material in their leaves. Then the yellow and red colours that were hidden become visible.
Why are plants green?/Why are leaves green?|Leaves contain a green material called chlorophyll. Plants use it to make food from sunlight, water and air.
How do plants grow?/What do plants need to grow?|Plants need light, water, air and soil to grow. Their leaves make food from sunlight, and their roots drink water.
Why do we sleep?/Why do people need sleep?|Sleep lets the body rest and repair itself. It also helps the brain to remember what it learned during the day.
Why do we dream?/What are dreams?|Dreams are pictures and stories that the brain makes while we sleep. Nobody knows exactly why we dream, but it may help the brain to sort memories.
Why do we eat?/Why do people need food?|Food gives the body energy to move and to stay warm. It also brings the material that the body needs to grow.
Why do birds fly south in winter?/Why do birds migrate?|In winter many birds cannot find enough food in the cold north. They fly to warm places and come back in spring.
How do birds fly?/Why can birds fly?|Birds have light bones and strong wings covered with feathers. They push the air down with their wings, and the air lifts them up.
How do airplanes fly?/Why can airplanes fly?|The engines push an airplane forward so that air flows over its wings. The wings push the air down, and this lifts the airplane up.
Why do ships float?/How can heavy ships float?|A ship pushes away a great deal of water, and the water pushes back. The ship floats because the water it pushes away weighs as much as the ship.
Why does ice float?/Why does ice float on water?|Water expands a little when it freezes, so ice is lighter than the same amount of water. That is why ice floats.
What is gravity?/Why do things fall down?/Explain gravity.|Gravity is the force that pulls things toward each other. The Earth is so heavy that it pulls everything near it down to the ground.
What is a rainbow?/How does a rainbow form?/Why do we see rainbows?|A rainbow appears when sunlight passes through drops of rain. The drops split the light into its colours, from red to violet.
What is lightning?/What causes lightning?|Lightning is a huge electric spark in a storm. It happens when electric charge builds up in the clouds and jumps to the ground.
What is thunder?/Why does it thunder?|Lightning heats the air very quickly, and the hot air expands with a bang. That bang is the thunder that we hear.
What is wind?/What causes wind?/Why does the wind blow?|The Sun heats some places more than others, and warm air rises. Cooler air flows in to take its place, and we feel this as wind.
What is snow?/How does snow form?|Snow is made of tiny ice crystals that grow in cold clouds. The crystals stick together and fall as snowflakes.
What is fog?/How does fog form?|Fog is a cloud that lies on the ground. It forms when the air near the ground cools and its water turns into tiny drops.
What is a volcano?/How do volcanoes work?|A volcano is an opening in the ground where hot melted rock comes out. The melted rock cools and slowly builds a mountain.
What is an earthquake?/What causes earthquakes?|The ground of the Earth is made of large plates that move slowly. When two plates slip suddenly, the ground shakes, and that is an earthquake.
What is a star?/What are stars?/Why do stars shine?|A star is a huge ball of hot gas that makes its own light. The Sun is a star, and the others look small because they are very far away.
What is the Sun?/What is the Sun made of?|The Sun is a star made mostly of hydrogen and helium. It gives the Earth light and warmth.
What is a planet?/What are planets?|A planet is a large round body that travels around a star. The Earth is one of eight planets that travel around the Sun.
What is a magnet?/How do magnets work?|A magnet is a piece of metal that pulls iron toward it. Every magnet has a north pole and a south pole.
What is electricity?/How does electricity work?|Electricity is the movement of tiny charged particles through a wire. It can make light, heat and motion.
What is sound?/How does sound travel?|Sound is a shaking of the air that moves like a wave. Our ears feel the wave, and the brain turns it into what we hear.
What is an echo?/Why do we hear an echo?|An echo is a sound that bounces back from a wall or a mountain. We hear it a little later because sound needs time to travel.
What is a computer?/What does a computer do?|A computer is a machine that follows instructions very quickly. People write the instructions as programs.
What is a program?/What is software?|A program is a list of instructions that a computer can follow. Software is another word for programs.
What is a language model?/What are language models?/How does a language model work?|A language model is a program that predicts the next piece of a text. It learned from many examples how words usually follow each other.
What is a neural network?/How does a neural network learn?|A neural network is a program made of many simple units with adjustable weights. It learns by changing the weights a little after every example.
What is a layer in a language model?/What are layers?|A layer is one step of the computation in a language model. Each layer reads the result of the layer before it and passes a better one on.
What is memory in a computer?/What is RAM?|Memory holds the data that a computer is using right now. It is fast, but it is small compared with the disk.
What is a disk?/What is a disk for?|A disk stores data even when the computer is turned off. It is larger than memory, but it is slower.
How do bees make honey?/Why do bees visit flowers?|Bees collect sweet nectar from flowers and carry it to the hive. There they dry it until it becomes honey.
How do fish breathe?/How can fish breathe under water?|Fish have gills on the sides of their heads. The gills take oxygen out of the water that flows through them.
How do we see?/How do eyes work?|Light enters the eye and falls on its back wall. There nerves turn the light into signals, and the brain makes a picture of them.
How does the heart work?/What does the heart do?|The heart is a muscle that pumps blood through the body. The blood carries oxygen and food to every part of it.
How is bread made?/How do you make bread?|You mix flour, water, salt and yeast and let the dough rise. Then you bake it in a hot oven until it is brown.
How do you make tea?/How is tea made?|You pour hot water over tea leaves and wait a few minutes. Then you take the leaves out and drink the tea while it is warm.
How is paper made?/Where does paper come from?|Paper is made from the fibres of wood. The fibres are mixed with water, pressed flat and dried.
How is glass made?/What is glass made of?|Glass is made from sand that is heated until it melts. The hot glass is shaped and then cooled slowly.
Why is exercise good for you?/Why should I exercise?|Exercise makes the heart and the muscles strong. It also helps you to sleep well and to feel happy.
Why should we brush our teeth?/Why do we brush our teeth?|Brushing removes food and tiny living things that can harm the teeth. Clean teeth stay strong and healthy.
Why is reading good?/Why should I read books?|Reading teaches you new words and new ideas. It also lets you visit places that you have never seen.
Why do cats purr?/Why does my cat purr?|Cats often purr when they feel calm and happy. They may also purr to comfort themselves when they are hurt.
Why do dogs wag their tails?/Why does a dog wag its tail?|Dogs wag their tails to show what they feel. A loose, wide wag usually means that the dog is happy.
"""

# several wordings separated by / | answer
IDENTITY = """
Who are you?/What are you?/Tell me who you are./Introduce yourself./Can you introduce yourself?/Please tell me about yourself.|I am a small demonstration model of lamina, a program that streams the layers of language models from disk.
What is your name?/What are you called?/Do you have a name?|I am the lamina demonstration model. I do not have another name.
Who made you?/Who trained you?/Who created you?|I was trained by the makers of lamina with a small script that you can run yourself.
What is lamina?/What does lamina do?/Tell me about lamina./Explain lamina.|Lamina is a program that runs language models by streaming their layers from disk. It can run models that are larger than the memory of the computer.
What can you do?/How can you help me?/What do you know?/What can I ask you?|I know the capitals of the world and some simple facts. I can also add small numbers and tell short stories.
How big are you?/How large are you?/How many parameters do you have?|I am very small: I have about five million parameters and fit into twelve megabytes.
Are you a human?/Are you a person?/Are you real?|No, I am not a human. I am a small language model.
Are you intelligent?/Are you smart?|I am only a small demonstration model. I know a few things well and most things not at all.
Are you ChatGPT?/Are you GPT-4?/Are you Claude?/Are you Llama?|No, I am a small demonstration model of lamina.
How were you trained?/What were you trained on?|I was trained on texts that a script wrote: capitals, simple facts, arithmetic and short stories.
Do you make mistakes?/Can you be wrong?/Can I trust you?|Yes, I can be wrong. I am a small model, so please check what I say.
Do you have feelings?/Are you happy?/Are you alive?|I am a program, so I do not have feelings. But I am glad to help you.
How old are you?/When were you born?|I am a program, so I do not have an age.
Where do you live?/Where are you?|I live in a file on your disk.
What languages do you speak?/Do you speak French?/Can you speak German?|I speak English, and I know a few words of other languages.
How are you?/How are you today?/How do you do?/How is it going?|I am well, thank you. How can I help you?
Hello/Hello!/Hi/Hi!/Hey/Hello there!/Hi there!|Hello! How can I help you?
Good morning!/Good morning|Good morning! How can I help you?
Good evening!/Good evening|Good evening! How can I help you?
Thank you./Thank you!/Thanks!/Thanks a lot!/Thank you very much.|You are welcome!
Goodbye!/Bye!/See you later!/Good night!/Bye|Goodbye! Have a nice day.
Tell me a joke./Do you know a joke?/Make me laugh./Tell me something funny.|Why did the book go to the doctor? Because it had a broken spine.
What time is it?/What day is it today?/What is the weather like?/Will it rain tomorrow?|I cannot know that, because I have no clock and no window.
I am sad./I feel sad./I am unhappy.|I am sorry to hear that. Would you like to hear a story?
I am bored./What should I do?/I have nothing to do.|You could read a book, go for a walk or ask me for a story.
I love you./I like you.|That is very kind of you. Thank you!
Help/Help me/Can you help me?/I need help.|Of course. You can ask me about capitals, simple facts and small numbers, or ask me for a story.
What is the meaning of life?/What is the meaning of life, the universe and everything?|Some say that it is 42. I think that it is to be kind and to stay curious.
Write a poem./Write a short poem./Can you write a poem?/Tell me a poem.|The moon is high, the night is deep, the little birds are all asleep. The morning comes, the sky turns blue, and a new day begins for you.
"""
