//! `tinybase extensions verify`: verifies the files of installed extensions and prints the results.

use super::{CommandContext, Failure, output};
use crate::registry::{self, Verdict};

pub(super) async fn run(site: &CommandContext<'_>, name: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let verdicts = registry::verify(site.config, site.plugins, name).await?;
    if as_json {
        output::json(&verdicts)?;
    } else {
        let row = |verdict: &Verdict| {
            let problem = verdict.problem.clone().unwrap_or_else(|| "as installed".to_owned());
            [
                verdict.name.clone(),
                verdict.version.clone(),
                verdict.hash[..16.min(verdict.hash.len())].to_owned(),
                problem,
            ]
        };
        output::table(&verdicts.iter().map(row).collect::<Vec<_>>())?;
    }
    match verdicts.iter().filter(|verdict| verdict.problem.is_some()).count() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} extension(s) are not as they were installed; install them again"
        ))),
    }
}
