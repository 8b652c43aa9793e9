//! Random records and queries: PostgreSQL's results must equal SQLite's byte for byte. The seed of a run is printed;
//! `TINYBASE_TEST_SEED` repeats it.

use super::*;

const ROUNDS: usize = 12;
const QUESTIONS: usize = 40;

/// A random number generator with a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const TEXTS: &[&str] = &[
    "\"\"",
    "\"a\"",
    "\"B\"",
    "\"b\"",
    "\"Ä\"",
    "\"ä\"",
    "\"a_%\"",
    "\"10\"",
    "\"9\"",
    "\"[1]\"",
    "\"\\\"\\\\\\n\"",
    "\"日本\"",
    "\"a'b\"",
    "\"true\"",
    "\"😀\"",
    "\" a\"",
];
const INTEGERS: &[&str] =
    &["0", "1", "-1", "2", "7", "10", "9007199254740993", "-9007199254740993", "4503599627370497", "-100"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "1.5",
    "0.1",
    "0.2",
    "0.3",
    "-2.25",
    "1e+16",
    "1e+300",
    "1e-7",
    "100.125",
    "3.0",
    "12345678901234567",
    "1.1",
    "2.2",
    "-0.7",
];
const DATES: &[&str] = &[
    "\"2026-01-01\"",
    "\"2026-01-01T00:00:00.000000Z\"",
    "\"1999-12-31T23:59:59.999999Z\"",
    "\"2026-06-01\"",
];
const MIXED: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "2.5",
    "\"1\"",
    "\"x\"",
    "[1,\"1\"]",
    "[]",
    "{}",
    "{\"c\":1}",
    "{\"c\":\"x\",\"b\":[1.0]}",
    "18446744073709551615",
    "100.0",
    "1e+16",
    "\"X\"",
];
const ENTRIES: &[&str] = &["[]", "[\"a\"]", "[\"a\",\"b\"]", "[\"\"]", "[\"%\",\"10\"]"];

/// Adds one of a few values, null, or nothing.
fn member(dice: &mut Dice, name: &str, values: &[&str], out: &mut Vec<String>) {
    match dice.roll(8) {
        0 => {}
        1 => out.push(format!("\"{name}\":null")),
        _ => out.push(format!("\"{name}\":{}", dice.pick(values))),
    }
}

fn record(dice: &mut Dice) -> String {
    let mut members = Vec::new();
    for (name, values) in [
        ("t", TEXTS),
        ("T2", TEXTS),
        ("i", INTEGERS),
        ("i2", INTEGERS),
        ("n", NUMBERS),
        ("n2", NUMBERS),
        ("b", &["true", "false"]),
        ("b2", &["true", "false"]),
        ("d", DATES),
        ("l", ENTRIES),
        ("free", MIXED),
    ] {
        member(dice, name, values, &mut members);
    }
    let (a, b) = (dice.pick(MIXED), dice.pick(MIXED));
    members.push(format!("\"o\":{{\"a\":{a},\"b\":{b},\"c\":[{},{}]}}", dice.pick(MIXED), dice.pick(MIXED)));
    format!("{{{}}}", members.join(","))
}

/// Returns the schema, with an index on randomly chosen fields.
fn any_schema(dice: &mut Dice) -> Schema {
    let fields: Vec<String> = [
        ("t", "string"),
        ("T2", "string"),
        ("i", "integer"),
        ("i2", "integer"),
        ("n", "number"),
        ("n2", "number"),
        ("b", "boolean"),
        ("b2", "boolean"),
        ("d", "date"),
    ]
    .iter()
    .map(|(name, kind)| {
        format!("{{\"name\":\"{name}\",\"type\":\"{kind}\",\"index\":{}}}", dice.roll(2) == 0)
    })
    .collect();
    let text = format!(
        "{{\"fields\":[{},{{\"name\":\"l\",\"type\":\"list[string]\"}},{{\"name\":\"o\",\"type\":\"object\"}},{{\"name\":\"free\",\"type\":\"array\"}}]}}",
        fields.join(",")
    );
    Schema::parse(&Json::parse(&text).unwrap()).unwrap()
}

fn comparison(dice: &mut Dice) -> String {
    let symbol = dice.pick(&["=", "!=", "<", "<=", ">", ">="]);
    let value = |dice: &mut Dice, of: &[&str]| dice.pick(of).to_owned();
    let text = |dice: &mut Dice| value(dice, &["''", "'a'", "'B'", "'ä'", "'10'", "'x'", "'[1]'", "'a''b'"]);
    let number = |dice: &mut Dice| {
        value(dice, &["0", "1", "-1", "1.5", "0.3", "2", "9007199254740993", "1e16", "7.0"])
    };
    let any = |dice: &mut Dice| {
        if dice.roll(2) == 0 {
            text(dice)
        } else if dice.roll(4) == 0 {
            "true".to_owned()
        } else {
            number(dice)
        }
    };
    let path =
        dice.pick(&["o.a", "o.b", "o.a.c", "o.c[0]", "o.c[1]", "o.b.b[0]", "o.`c`", "free.x", "free[0]"]);
    match dice.roll(14) {
        0 => format!("{} {symbol} {}", dice.pick(&["t", "T2", "l[0]", "id"]), text(dice)),
        1 => format!("{} {symbol} {}", dice.pick(&["i", "i2", "n", "n2"]), number(dice)),
        2 => format!("{} {symbol} {}", dice.pick(&["i", "n2"]), dice.pick(&["n", "i2"])),
        3 => format!("{} {symbol} {}", dice.pick(&["b", "b2"]), dice.pick(&["true", "false", "b"])),
        4 => format!("d {symbol} '2026-01-01'"),
        5 | 6 => format!("{path} {symbol} {}", any(dice)),
        7 => format!("{path} {symbol} {}", dice.pick(&["o.b", "t", "n", "b", "id", "o.c[1]"])),
        8 => format!("{} in ({}, {})", dice.pick(&["t", "T2"]), text(dice), text(dice)),
        9 => format!("{} not in ({}, {})", dice.pick(&["i", "n2"]), number(dice), number(dice)),
        10 => format!("{path} in ({}, {}, {})", any(dice), any(dice), any(dice)),
        11 => format!(
            "{} like '{}'",
            dice.pick(&["t", "T2", path, "d"]),
            dice.pick(&["a%", "%B%", "_", "ä", "%\\_%", "[%"])
        ),
        12 => format!("{} is {}null", dice.pick(&["t", "n2", "b", "l", "o", path]), dice.pick(&["", "not "])),
        _ => format!("{} has {}", dice.pick(&["l", "o", "o.c", "o.b", "free"]), any(dice)),
    }
}

fn condition(dice: &mut Dice) -> String {
    match dice.roll(6) {
        0 => format!("({}) and ({})", condition(dice), comparison(dice)),
        1 => format!("({}) or ({})", condition(dice), comparison(dice)),
        2 => format!("not ({})", condition(dice)),
        _ => comparison(dice),
    }
}

fn order(dice: &mut Dice, of: &[&str], keys: usize) -> String {
    let key = |dice: &mut Dice| format!("{}{}", dice.pick(&["", "-"]), dice.pick(of));
    (0..=dice.roll(keys)).map(|_| key(dice)).collect::<Vec<_>>().join(",")
}

/// The parameters of a query, as `(name, value)`.
type Question = Vec<(&'static str, String)>;

fn list_question(dice: &mut Dice) -> Question {
    let mut question = Vec::new();
    if dice.roll(5) > 0 {
        question.push(("filter", condition(dice)));
    }
    let keys =
        ["t", "T2", "i", "i2", "n", "n2", "b", "d", "o.a", "o.b", "o.c[0]", "id", "owner_id", "updated_at"];
    question.push(("sort", order(dice, &keys, 3)));
    question.push(("limit", (1 + dice.roll(7)).to_string()));
    question.push(if dice.roll(3) > 0 {
        ("cursor", String::new())
    } else {
        ("offset", dice.roll(4).to_string())
    });
    question
}

fn aggregate_question(dice: &mut Dice) -> Question {
    let all = ["t", "T2", "i", "i2", "n", "n2", "b", "b2", "d"];
    let mut question = vec![
        ("count", format!("*,{}", dice.pick(&all))),
        ("sum", dice.pick(&["i", "i2", "n", "n2", "i,n2"]).to_owned()),
        ("avg", dice.pick(&["i", "n", "n2", "n,i2"]).to_owned()),
        ("min", dice.pick(&all).to_owned()),
        ("max", dice.pick(&all).to_owned()),
    ];
    if dice.roll(3) > 0 {
        let group = dice.pick(&["t", "T2", "i", "n", "n2", "b", "b2", "d", "b,t"]);
        question.push(("group_by", group.to_owned()));
        question.push(("sort", format!("{}count", dice.pick(&["", "-"]))));
    }
    if dice.roll(2) > 0 {
        question.push(("filter", condition(dice)));
    }
    question
}

fn pairs_of(question: &Question) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    question.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect()
}

/// Returns every page of a list, with the cursors between them, or its error.
fn list_answer(store: &mut Store, schema: &Schema, question: &Question) -> String {
    let caller = Caller::default();
    let list = match ListQuery::parse(&pairs_of(question), schema) {
        Ok(list) => list,
        Err(fault) => return format!("{fault:?}"),
    };
    let (mut out, mut position) = (String::new(), None);
    loop {
        let table = table(store, schema);
        let statement =
            list.statement(table, &Rule::Public, &context(&caller), position.as_ref(), list.limit);
        let rows = run(store, &statement);
        for row in &rows {
            out.push_str(&format!(
                "{:?} {:?} {:?}\n",
                row[columns::TOTAL],
                row[columns::ID],
                row[columns::DATA]
            ));
        }
        let Some(last) = rows.last().filter(|_| list.cursor.is_some()) else { return out };
        let next = behind(store, &list, last);
        let values: Vec<String> = next.values.iter().map(told).collect();
        out.push_str(&format!("{values:?}\n"));
        position = Some(next);
    }
}

/// Formats a sort value for comparison: whether 1e16 is an integer or a float does not matter.
fn told(value: &SqlValue) -> String {
    match value {
        SqlValue::Integer(number) => format!("{:?}", *number as f64),
        SqlValue::Real(number) => format!("{number:?}"),
        other => format!("{other:?}"),
    }
}

fn aggregate_answer(store: &mut Store, schema: &Schema, question: &Question) -> String {
    let caller = Caller::default();
    let aggregate = match Aggregate::parse(&pairs_of(question), schema) {
        Ok(aggregate) => aggregate,
        Err(fault) => return format!("{fault:?}"),
    };
    let statement = aggregate.statement(table(store, schema), &Rule::Public, &context(&caller));
    match store.try_rows(&statement.sql, &statement.params) {
        Ok(rows) => {
            let mut out = String::new();
            for row in rows {
                aggregate.write_row(&row, &mut out);
                out.push('\n');
            }
            out
        }
        Err(fault)
            if ["integer overflow", "bigint out of range"].iter().any(|words| fault.contains(words)) =>
        {
            "overflow".to_owned()
        }
        Err(fault) => panic!("{question:?}: {}: {fault}", statement.sql),
    }
}

#[test]
fn generated_questions_have_the_same_answers_on_both_engines() {
    let given = std::env::var("TINYBASE_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    eprintln!("TINYBASE_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    for _ in 0..ROUNDS {
        let schema = any_schema(&mut dice);
        let count = 3 + dice.roll(25);
        let rows: Vec<String> = (0..count).map(|_| record(&mut dice)).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let mut stores = databases(&schema, &rows);
        for _ in 0..QUESTIONS {
            let is_list = dice.roll(3) > 0;
            let question = if is_list { list_question(&mut dice) } else { aggregate_question(&mut dice) };
            let answer = if is_list { list_answer } else { aggregate_answer };
            let answers: Vec<String> =
                stores.iter_mut().map(|store| answer(store, &schema, &question)).collect();
            for other in answers.iter().skip(1) {
                let lines = || answers[0].lines().zip(other.lines());
                let differing: Vec<_> = lines().filter(|(left, right)| left != right).take(3).collect();
                assert!(
                    *other == answers[0],
                    "seed {seed}: {question:?}: SQLite, PostgreSQL: {differing:#?}"
                );
            }
        }
    }
}
