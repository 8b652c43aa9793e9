//! What `database.url` asks for of TLS, held against what the driver makes of it: nothing that is asked for is passed over
//! in silence, and what fails is said in the words of the URL. It makes no connection.

use std::path::Path;

use rustls::{
    CertificateError,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::db::DbError;

/// The parameters of TLS, as PostgreSQL's own clients call them and as the driver does too.
const MODE: [&str; 2] = ["sslmode", "ssl-mode"];
const ROOT: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const CERTIFICATE: [&str; 2] = ["sslcert", "ssl-cert"];
const KEY: [&str; 2] = ["sslkey", "ssl-key"];

/// Refuses what would not be checked though it was asked for, and files that will not do. With `sslmode=require`, a root
/// certificate is checked as PostgreSQL's own clients check it, which the driver would not.
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

/// Under `verify-ca` the driver takes the process's own provider of cryptography, and panics where there is none: which one
/// it is cannot be found out by itself, since `tough` brings a second one along.
fn name_provider() {
    // One that is there already will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A parameter that is spelled wrong, or that the driver lacks, would leave connections less secure than they look.
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

/// The last of the parameters with one of these names, which is the one that counts.
fn parameter<'n>(url: &Url, names: &[&'n str]) -> Option<(&'n str, String)> {
    let named = |name: &str| names.iter().find(|known| **known == name).copied();
    url.query_pairs().filter_map(|(name, value)| Some((named(&name)?, value.into_owned()))).last()
}

/// A file must hold a certificate, and no half one.
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

/// Why TLS with the server failed, where that is what failed.
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
