//! Checks the TLS settings in `database.url` against what the driver supports: no requested setting is silently
//! ignored, and errors use the words of the URL. It makes no connection.

use std::path::Path;

use rustls::{
    CertificateError,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::db::DbError;

/// The TLS parameters, as named by PostgreSQL's own clients and by the driver.
const MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const ROOT: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const KEY: [&str; 2] = ["sslkey", "ssl-key"];

/// Refuses requested checks that would not be made, and files that are not usable. With `sslmode=require`, a root
/// certificate is checked as PostgreSQL's own clients do, which the driver would not.
pub(super) fn checked(url: &Url, options: PgConnectOptions) -> Result<PgConnectOptions, DbError> {
    name_provider();
    refuse_unknown(url)?;
    if let Some((name, path)) = parameter(url, &CERTIFICATE) {
        check_certificates(name, &path)?;
    }
    if let Some((name, path)) = parameter(url, &KEY) {
        PrivateKeyDer::from_pem_file(&path).map_err(|error| unusable(name, &path, &error))?;
    }
    let Some((name, path)) = parameter(url, &ROOT) else { return Ok(options) };
    check_certificates(name, &path)?;
    match options.get_ssl_mode() {
        PgSslMode::VerifyFull | PgSslMode::VerifyCa => Ok(options),
        PgSslMode::Require => Ok(options.ssl_mode(PgSslMode::VerifyCa)),
        PgSslMode::Prefer | PgSslMode::Allow | PgSslMode::Disable => Err(refused(&format!(
            "{name} is of no use without sslmode=verify-full, which checks the server's certificate and its name"
        ))),
    }
}

/// Installs the process's default crypto provider. With `verify-ca` the driver uses it, and panics if there is none:
/// rustls cannot choose one itself, since `tough` adds a second one.
fn name_provider() {
    // An installed provider is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Refuses unknown parameters. A misspelled one, or one that the driver lacks, would make connections less secure than
/// they look.
fn refuse_unknown(url: &Url) -> Result<(), DbError> {
    let known = [&MODE[..], &ROOT, &CERTIFICATE, &KEY].concat();
    let unknown = url.query_pairs().find(|(name, _)| name.starts_with("ssl") && !known.contains(&&**name));
    match unknown {
        Some((name, _)) => Err(refused(&format!(
            "the parameter {name} is not known; of TLS there are sslmode, sslrootcert, sslcert and sslkey"
        ))),
        None => Ok(()),
    }
}

/// Returns the last of the parameters with one of these names, which is the effective one.
fn parameter<'n>(url: &Url, names: &[&'n str]) -> Option<(&'n str, String)> {
    let named = |name: &str| names.iter().find(|known| **known == name).copied();
    url.query_pairs().filter_map(|(name, value)| Some((named(&name)?, value.into_owned()))).last()
}

/// Checks that a file contains a certificate, and that all of them are complete.
fn check_certificates(name: &str, path: &str) -> Result<(), DbError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(name, path, &error))?;
    let mut count = 0;
    for certificate in certificates {
        certificate.map_err(|error| unusable(name, path, &error))?;
        count += 1;
    }
    if count == 0 {
        return Err(unusable(name, path, &"it holds no certificate in PEM"));
    }
    Ok(())
}

fn unusable(name: &str, path: impl AsRef<Path>, problem: &dyn std::fmt::Display) -> DbError {
    refused(&format!("{name} cannot be used: {}: {problem}", path.as_ref().display()))
}

fn refused(problem: &str) -> DbError {
    DbError::Closed(format!("database.url: {problem}"))
}

/// Returns why TLS with the server failed, if that is the cause.
pub(super) fn problem(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Io(error) => of_handshake(error.get_ref()?.downcast_ref::<rustls::Error>()?),
        sqlx::Error::Tls(error) if error.to_string().contains("does not support TLS") => {
            Some("the server speaks no TLS, which sslmode in database.url asks for".to_owned())
        }
        sqlx::Error::Tls(error) => Some(format!("TLS: {error}")),
        _ => None,
    }
}

fn of_handshake(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(error) = error else { return Some(format!("TLS: {error}")) };
    Some(match error {
        CertificateError::UnknownIssuer => "the server's certificate comes from nobody who is trusted; \
             sslrootcert in database.url names the file with the certificate of who issued it"
            .to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "the server's certificate is for another name than database.url calls it by, \
             which sslmode=verify-full refuses: {error}"
        ),
        _ => format!("the server's certificate is refused: {error}"),
    })
}
