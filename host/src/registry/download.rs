//! Downloads a package from a URL, for installations without a registry. Nobody vouches for its contents.
//! Time and size are limited, and redirects to another origin are refused.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, redirect::Policy};
use tinybase_registry::{innermost, tls};
use url::Url;

use super::{InstallError, prepare::Progress};
use crate::config::Config;

/// The maximum number of redirects within the server's origin.
const REDIRECTS_MAX: usize = 3;

/// Downloads `url` into `folder`.
pub(super) async fn download(
    config: &Config,
    url: &Url,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, InstallError> {
    let timeout = Duration::from_millis(config.extensions.fetch_timeout_ms);
    let fetched = tokio::time::timeout(timeout, fetch(config, url, folder, progress)).await;
    fetched.unwrap_or_else(|_| {
        Err(InstallError::new(
            "download_failed",
            format!("{url}: it took longer than {} ms", timeout.as_millis()),
        ))
    })
}

async fn fetch(
    config: &Config,
    url: &Url,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, InstallError> {
    let failed = |error: reqwest::Error| {
        let words = format!("{url}: it cannot be fetched: {}", innermost(&error.without_url()));
        InstallError::new("download_failed", words)
    };
    let client = Client::builder().tls_backend_preconfigured(tls()?).redirect(within(url));
    let client = client.build().map_err(failed)?;
    let mut answer =
        client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let (mut done, total, max) =
        (0, answer.content_length().unwrap_or(0), config.extensions.archive_bytes_max);
    let path = folder.join("download.tbx");
    let mut file = std::fs::File::create(&path).map_err(InstallError::file(&path))?;
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        done += chunk.len() as u64;
        if done > max {
            let words = format!("{url}: it is larger than {max} bytes (extensions.archive_bytes_max)");
            return Err(InstallError::new("archive_too_large", words));
        }
        file.write_all(&chunk).map_err(InstallError::file(&path))?;
        progress.fetched(url.as_str(), done, total.max(done));
    }
    Ok(path)
}

fn within(url: &Url) -> Policy {
    let origin = url.origin();
    Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX || attempt.url().origin() != origin {
            return attempt.error("it redirects elsewhere");
        }
        attempt.follow()
    })
}
