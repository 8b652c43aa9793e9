//! Compares the target with the source: reads all rows of all copied tables from both.

use serde::Serialize;

use super::{CopyError, digest::Digest, pages::Pages, side::Side, tables::Table};

/// The contents of a table, which are equal on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The table.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
    /// The sum of the SHA-256 hashes of its rows, in hex.
    pub sha256_sum: String,
}

/// The digests of a table on both sides.
#[derive(Debug)]
pub struct Compared {
    /// The digest of the source.
    pub source: Digest,
    /// The digest of the target.
    pub target: Digest,
}

impl Compared {
    /// Returns the table, if both sides are equal.
    pub fn verified(&self, name: &str) -> Option<Verified> {
        let Digest { rows, .. } = self.source;
        let same = self.source == self.target;
        same.then(|| Verified { name: name.to_owned(), rows, sha256_sum: self.source.hex() })
    }
}

/// Reads a table from both sides concurrently.
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
