//! The table of a build's words, and all SQL that differs between the engines: FTS5 on SQLite, `tsvector` on
//! PostgreSQL. It makes no decisions: callers pass what to write and to search.

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

/// Returns the SQL for the current time in milliseconds on the database's clock.
pub fn now_ms(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)",
        Engine::Postgres => "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)",
    }
}

/// Returns the name of the table of a build's words.
pub fn table(number: i64) -> String {
    format!("search_w_{number}")
}

/// Returns the statement that drops the table of a build's words.
pub fn drop_table(number: i64) -> String {
    format!("DROP TABLE IF EXISTS {}", table(number))
}

/// Returns the SQL that expands `parameter`, a JSON array of ids, to rows.
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

    /// Returns the list of the text columns, each formatted by `each`.
    fn columns(&self, each: impl Fn(usize) -> String) -> String {
        (0..self.definition.fields.len()).map(each).collect::<Vec<_>>().join(", ")
    }

    /// Returns the statements that create the table.
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

    /// Returns a statement that fails if the table does not exist, such as after a copy into another database.
    pub fn probe(&self) -> String {
        format!("SELECT 1 FROM {} LIMIT 0", self.table())
    }

    /// Appends the statements that add a record to the build, unless the build already has a later version. The
    /// parameters are the record's id, `created_at`, version, digest and texts.
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

    /// Returns the statement that writes a version's words, if that version is the one in `search_docs`.
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

    /// Returns PostgreSQL's letter for a weight: A is the largest.
    fn label(&self, weight: f64) -> char {
        let weights = self.definition.weights();
        let larger = weights.iter().filter(|other| **other > weight).count();
        ['A', 'B', 'C', 'D'][larger.min(3)]
    }

    /// Appends the statements that remove the record created at `created_at` from the build and remember its
    /// deletion.
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

    /// Returns the column with the document's id.
    fn key(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "rowid",
            Engine::Postgres => "doc",
        }
    }

    /// Returns the query for the best matches from `offset` on: `record_id, digest, score, doc`.
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
                // As a subquery, `to_tsquery` is evaluated once, not once per row.
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

    /// Returns the weights of PostgreSQL's four letters, D first, relative to the largest weight.
    fn ranks(&self) -> String {
        let weights = self.definition.weights();
        let largest = weights.last().copied().unwrap_or(1.0);
        let of = |at: usize| weights.iter().rev().nth(at).map_or(0.0, |weight| weight / largest);
        format!("{{{:?},{:?},{:?},{:?}}}", of(3), of(2), of(1), of(0))
    }

    /// Returns the query for the snippets of some documents: `doc, digest, snippet`, where the digest is that of
    /// the snippet's texts.
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

/// The indexed version of a record.
pub struct Picture<'a> {
    /// The record's id.
    pub id: &'a str,
    /// When the record was created.
    pub created_at: &'a str,
    /// The record's version.
    pub version: i64,
    /// The digest of its texts.
    pub digest: &'a str,
    /// Its texts, one per field.
    pub texts: &'a [String],
}
