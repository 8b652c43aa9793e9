//! Holds the target against the source: every row of every table that was copied, read back from both.

use serde::Serialize;

use super::{CopyError, digest::Digest, pages::Pages, side::Side, tables::Table};

/// What a table holds, on both sides alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The table.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The sum of the SHA-256 hashes of its rows, in hex.
    pub sha256_sum: String,
}

/// What two tables hold.
#[derive(Debug)]
pub struct Compared {
    /// What the source holds.
    pub source: Digest,
    /// What the target holds.
    pub target: Digest,
}

impl Compared {
    /// The table, if both sides hold the same.
    pub fn verified(&self, name: &str) -> Option<Verified> {
        let Digest { rows, .. } = self.source;
        let same = self.source == self.target;
        same.then(|| Verified { name: name.to_owned(), rows, sha256_sum: self.source.hex() })
    }
}

/// Reads a table from both sides, at once.
///
/// # Errors
/// Those of the databases.
pub async fn compare(source: (&Side, &Table), target: (&Side, &Table)) -> Result<Compared, CopyError> {
    let columns = &source.1.columns;
    let (from, to) = (digest(source, columns)?, digest(target, columns)?);
    let (from, to) = (tokio::spawn(from), tokio::spawn(to));
    let joined = |error: tokio::task::JoinError| std::panic::resume_unwind(error.into_panic());
    Ok(Compared { source: from.await.unwrap_or_else(joined)?, target: to.await.unwrap_or_else(joined)? })
}

fn digest(
    (side, table): (&Side, &Table),
    columns: &[String],
) -> Result<impl Future<Output = Result<Digest, CopyError>> + use<>, CopyError> {
    let mut pages = Pages::new(side, table, columns, Vec::new())?;
    Ok(async move {
        let mut digest = Digest::default();
        let mut page = pages.next().await?;
        while !page.is_empty() {
            page.rows().for_each(|row| digest.add(row));
            page = pages.next().await?;
        }
        Ok(digest)
    })
}
