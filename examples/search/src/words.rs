//! The table of one build's words, and all SQL that differs between the engines: FTS5 on SQLite, `tsvector` on PostgreSQL.
//! It decides nothing: what is written and asked for is handed in.

use tinybase_plugin_api::{database::Engine, prelude::*};

use crate::{
    definition::Definition,
    query::Query,
    text::{FOUND, FOUND_END},
};

/// The words of one build.
pub struct Words<'a> {
    /// The engine.
    pub engine: Engine,
    /// The build's number.
    pub number: i64,
    /// What is indexed.
    pub definition: &'a Definition,
}

/// The time now in milliseconds by the database's clock, as SQL.
pub fn now_ms(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)",
        Engine::Postgres => "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)",
    }
}

/// The name of the table of a build's words.
pub fn table(number: i64) -> String {
    format!("search_w_{number}")
}

/// The statement that ends the table of a build's words.
pub fn drop_table(number: i64) -> String {
    format!("DROP TABLE IF EXISTS {}", table(number))
}

/// The rows behind a list of ids in `parameter`, a JSON array, as SQL.
fn listed(engine: Engine, parameter: &str) -> String {
    match engine {
        Engine::Sqlite => format!("SELECT value FROM json_each({parameter})"),
        Engine::Postgres => format!(
            "SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST({parameter} AS JSONB)) AS listed (value)"
        ),
    }
}

impl Words<'_> {
    fn table(&self) -> String {
        table(self.number)
    }

    fn language(&self) -> &'static str {
        self.definition.language.of_engine(self.engine)
    }

    /// The names of the texts' columns, each with `each` around it.
    fn columns(&self, each: impl Fn(usize) -> String) -> String {
        (0..self.definition.fields.len()).map(each).collect::<Vec<_>>().join(", ")
    }

    /// The statements that make the table.
    pub fn make(&self) -> Vec<String> {
        let table = self.table();
        match self.engine {
            Engine::Sqlite => {
                let columns = self.columns(|at| format!("c{at}"));
                let language = self.language();
                vec![format!(
                    "CREATE VIRTUAL TABLE {table} USING fts5 ({columns}, tokenize = \"{language}\", prefix = '2 3')"
                )]
            }
            Engine::Postgres => {
                let columns = self.columns(|at| format!("c{at} TEXT NOT NULL"));
                vec![
                    format!(
                        "CREATE TABLE {table} (doc BIGINT PRIMARY KEY, {columns}, words TSVECTOR NOT NULL)"
                    ),
                    format!("CREATE INDEX {table}_words ON {table} USING gin (words)"),
                ]
            }
        }
    }

    /// The statement that fails where the table is not there, as behind a copy into another database.
    pub fn probe(&self) -> String {
        format!("SELECT 1 FROM {} LIMIT 0", self.table())
    }

    /// Appends what brings a record into the build, unless a later version of it is there already: the parameters are
    /// bound to the record's id, `created_at`, version, digest and texts.
    pub fn push_record(&self, batch: &mut Batch, record: &Picture<'_>) {
        let head = [
            Value::Integer(self.number),
            record.id.into(),
            record.created_at.into(),
            record.version.into(),
            record.digest.into(),
        ];
        batch.push(
            "INSERT INTO search_docs AS kept (number, record_id, created_at, version, digest) \
             SELECT number, CAST(?2 AS TEXT), CAST(?3 AS TEXT), CAST(?4 AS BIGINT), CAST(?5 AS TEXT) \
             FROM search_builds WHERE number = ?1 AND state <> 'ended' \
             ON CONFLICT (number, record_id) DO UPDATE SET created_at = excluded.created_at, \
             version = excluded.version, digest = excluded.digest, gone_at = NULL \
             WHERE (excluded.created_at, excluded.version) >= (kept.created_at, kept.version)",
            &head,
        );
        let texts = record.texts.iter().map(|text| Value::from(text.as_str()));
        let params: Vec<Value> = head.iter().cloned().chain(texts).collect();
        batch.push(&self.write_words(), &params);
    }

    /// The statement that writes the words of the version that is in `search_docs`, where it is the one at hand.
    fn write_words(&self) -> String {
        let table = self.table();
        let columns = self.columns(|at| format!("c{at}"));
        let texts = self.columns(|at| format!("CAST(?{} AS TEXT)", at + 6));
        let at_hand = "FROM search_docs WHERE number = ?1 AND record_id = ?2 AND created_at = ?3 AND version = ?4 \
                       AND digest = ?5 AND gone_at IS NULL";
        match self.engine {
            Engine::Sqlite => {
                format!("INSERT OR REPLACE INTO {table} (rowid, {columns}) SELECT doc, {texts} {at_hand}")
            }
            Engine::Postgres => {
                let language = self.language();
                let words = self.definition.fields.iter().enumerate().map(|(at, field)| {
                    let label = self.label(field.weight);
                    format!("setweight(to_tsvector('{language}', CAST(?{} AS TEXT)), '{label}')", at + 6)
                });
                let words = words.collect::<Vec<_>>().join(" || ");
                let renewed = self.columns(|at| format!("c{at} = excluded.c{at}"));
                format!(
                    "INSERT INTO {table} (doc, {columns}, words) SELECT doc, {texts}, {words} {at_hand} \
                     ON CONFLICT (doc) DO UPDATE SET {renewed}, words = excluded.words"
                )
            }
        }
    }

    /// PostgreSQL's letter for a weight: A is the largest.
    fn label(&self, weight: f64) -> char {
        let weights = self.definition.weights();
        let larger = weights.iter().filter(|other| **other > weight).count();
        ['A', 'B', 'C', 'D'][larger.min(3)]
    }

    /// Appends what takes a record out of the build that was created at `created_at`, and remembers that it is gone.
    pub fn push_gone(&self, batch: &mut Batch, id: &str, created_at: &str) {
        let now = now_ms(self.engine);
        let last = i64::MAX;
        batch.push(
            &format!(
                "INSERT INTO search_docs AS kept (number, record_id, created_at, version, digest, gone_at) \
                 SELECT number, CAST(?2 AS TEXT), CAST(?3 AS TEXT), {last}, '', {now} \
                 FROM search_builds WHERE number = ?1 AND state <> 'ended' \
                 ON CONFLICT (number, record_id) DO UPDATE SET created_at = excluded.created_at, \
                 version = excluded.version, digest = excluded.digest, gone_at = excluded.gone_at \
                 WHERE excluded.created_at >= kept.created_at"
            ),
            params![self.number, id, created_at],
        );
        batch.push(
            &format!(
                "DELETE FROM {} WHERE {} IN (SELECT doc FROM search_docs \
                 WHERE number = ?1 AND record_id = ?2 AND gone_at IS NOT NULL)",
                self.table(),
                self.key()
            ),
            params![self.number, id],
        );
    }

    /// The column that names a document.
    fn key(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "rowid",
            Engine::Postgres => "doc",
        }
    }

    /// The best matches from `offset` on: `record_id, digest, score, doc`.
    pub fn matches(&self, query: &Query, limit: usize, offset: usize) -> (String, Vec<Value>) {
        let (table, key) = (self.table(), self.key());
        let window = [integer(limit), integer(offset)];
        match self.engine {
            Engine::Sqlite => {
                let weights: String =
                    self.definition.fields.iter().map(|field| format!(", {:?}", field.weight)).collect();
                let sql = format!(
                    "SELECT d.record_id, d.digest, -m.score, d.doc FROM (SELECT {key} AS doc, \
                     bm25({table}{weights}) AS score FROM {table} WHERE {table} MATCH ?1 \
                     ORDER BY score, {key} LIMIT ?2 OFFSET ?3) AS m \
                     JOIN search_docs AS d ON d.doc = m.doc ORDER BY m.score, d.doc"
                );
                (sql, [Value::from(query.fts5()), window[0].clone(), window[1].clone()].to_vec())
            }
            Engine::Postgres => {
                let language = self.language();
                // In parentheses with SELECT, a query is read once, and not once for each row.
                let sql = format!(
                    "SELECT d.record_id, d.digest, m.score, d.doc FROM (SELECT w.doc, CAST(ts_rank_cd('{}', \
                     w.words, (SELECT to_tsquery('{language}', ?2))) AS DOUBLE PRECISION) AS score \
                     FROM {table} AS w WHERE (SELECT numnode(to_tsquery('{language}', ?1))) > 0 \
                     AND w.words @@ (SELECT to_tsquery('{language}', ?2)) ORDER BY score DESC, w.doc \
                     LIMIT ?3 OFFSET ?4) AS m JOIN search_docs AS d ON d.doc = m.doc \
                     ORDER BY m.score DESC, d.doc",
                    self.ranks()
                );
                let texts = [Value::from(query.wanted_tsquery()), Value::from(query.tsquery())];
                (sql, texts.into_iter().chain(window).collect())
            }
        }
    }

    /// What PostgreSQL's four letters weigh, D first, as parts of the largest weight.
    fn ranks(&self) -> String {
        let weights = self.definition.weights();
        let largest = weights.last().copied().unwrap_or(1.0);
        let of = |at: usize| weights.iter().rev().nth(at).map_or(0.0, |weight| weight / largest);
        format!("{{{:?},{:?},{:?},{:?}}}", of(3), of(2), of(1), of(0))
    }

    /// The snippets of some documents: `doc, digest, snippet`, of the texts of that digest.
    pub fn snippets(&self, query: &Query, docs: &[i64], words: u32) -> (String, Vec<Value>) {
        let (table, list) = (self.table(), json!(docs).to_string());
        match self.engine {
            Engine::Sqlite => {
                let sql = format!(
                    "SELECT d.doc, d.digest, snippet({table}, -1, '{FOUND}', '{FOUND_END}', '…', {words}) \
                     FROM {table} JOIN search_docs AS d ON d.doc = {table}.rowid \
                     WHERE {table} MATCH ?1 AND {table}.rowid IN ({})",
                    listed(self.engine, "?2")
                );
                (sql, params![query.fts5(), list].to_vec())
            }
            Engine::Postgres => {
                let language = self.language();
                let texts = self.columns(|at| format!("w.c{at}"));
                let least = (words / 3).max(2);
                let options = format!(
                    "StartSel=\"{FOUND}\", StopSel=\"{FOUND_END}\", MaxWords={words}, MinWords={least}, \
                     ShortWord=0, MaxFragments=1, FragmentDelimiter=\" … \""
                );
                let sql = format!(
                    "SELECT d.doc, d.digest, ts_headline('{language}', concat_ws(' ', {texts}), \
                     (SELECT to_tsquery('{language}', ?1)), ?2) FROM {table} AS w JOIN search_docs AS d ON d.doc = w.doc \
                     WHERE w.doc IN ({})",
                    listed(self.engine, "?3")
                );
                (sql, params![query.wanted_tsquery(), options, list].to_vec())
            }
        }
    }
}

fn integer(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// A version of a record as it is indexed.
pub struct Picture<'a> {
    /// The record's id.
    pub id: &'a str,
    /// When it was created.
    pub created_at: &'a str,
    /// Its version.
    pub version: i64,
    /// What tells its texts apart.
    pub digest: &'a str,
    /// Its texts, one a field.
    pub texts: &'a [String],
}
