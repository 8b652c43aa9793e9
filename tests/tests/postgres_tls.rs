//! TLS to PostgreSQL, with a server that accepts nothing else: the server's identity, the encryption of every
//! connection, and the messages to an operator when a connection fails. The certificates are generated in each run.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use tinybase_test_postgres::{Cluster, server_url};
use tinybase_tests::{Server, Site};

/// How long reconnecting may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// No access without TLS.
const ACCESS: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

/// The settings with which a server uses TLS.
const SETTINGS: [&str; 3] = ["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"];

/// The end of each URL that requires TLS in one way or another; `{}` stands for the file of a certificate.
const FULL: &str = "?sslmode=verify-full&sslrootcert={}";
const ISSUER_ONLY: &str = "?sslmode=verify-ca&sslrootcert={}";

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Issues the certificate of a server with these names, and its key.
    fn issue(&self, names: &[&str]) -> (String, String) {
        let mut params = params("a server", names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A server whose certificate is for `localhost`, a prepared folder, and the files that URLs name.
struct Secured {
    site: Site,
    files: TempDir,
    _cluster: Cluster,
}

impl Secured {
    /// Returns `None` in the run on SQLite, which has no server.
    #[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
    fn start() -> Option<Secured> {
        if server_url().is_none() {
            println!("PostgreSQL's alone: there is no TLS to a file");
            return None;
        }
        let files = tempfile::tempdir().unwrap();
        let own = Authority::new("the operator's own authority");
        let (certificate, key) = own.issue(&["localhost"]);
        let put = |name: &str, content: &str| fs::write(files.path().join(name), content).unwrap();
        put("own.pem", &own.certificate);
        put("other.pem", &Authority::new("another authority").certificate);
        put("key.pem", &key);
        let server = [("server.crt", &*certificate), ("server.key", &key), ("pg_hba.conf", ACCESS)];
        let cluster = Cluster::start_with_files(&SETTINGS, &server).unwrap();
        Some(Secured { site: Site::on(&cluster.url()), files, _cluster: cluster })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Makes later commands connect to the server by this host name, with these parameters.
    fn aim(&mut self, host: &str, parameters: &str, file: &Path) {
        let url = self.site.database_url().unwrap().replace("@127.0.0.1:", &format!("@{host}:"));
        let url = format!("{url}{}", parameters.replace("{}", file.to_str().unwrap()));
        self.site.set("TINYBASE_DB_URL", &url);
    }

    /// Returns the connections of the server: how many are not encrypted, how many are, and which of them listens.
    fn connections(&self) -> (usize, usize, Option<u32>) {
        let rows = self.site.sql(
            "SELECT s.ssl, a.query LIKE 'SELECT version%FROM tb_changes', a.pid \
             FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) \
             WHERE a.application_name = 'tinybase' AND a.datname = current_database()",
        );
        let (encrypted, plain): (Vec<&str>, Vec<&str>) = rows.lines().partition(|row| row.starts_with("t|"));
        let listens = encrypted.iter().find_map(|row| row.strip_prefix("t|t|"));
        (plain.len(), encrypted.len(), listens.map(|pid| pid.parse().unwrap()))
    }

    /// Waits until another connection than the one before listens, and at least one more serves requests; none of them
    /// may be without TLS. Returns the listening one.
    #[track_caller]
    fn expect_encrypted(&self, server: &Server, way: &str, before: Option<u32>) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It may use a connection that has just been closed.
            server.client().get("/ready");
            let (plain, encrypted, listens) = self.connections();
            assert_eq!(plain, 0, "{way}: a connection without TLS");
            match listens {
                Some(pid) if encrypted > 1 && listens != before => return pid,
                _ => assert!(Instant::now() < deadline, "{way}: {encrypted} connections"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn every_connection_is_encrypted_whichever_way_that_is_asked_for() {
    let Some(mut secured) = Secured::start() else { return };
    let own = secured.file("own.pem");
    for (host, parameters) in [
        ("localhost", FULL),
        // The certificate does not have this name, which only `verify-full` checks.
        ("127.0.0.1", ISSUER_ONLY),
        ("127.0.0.1", "?sslmode=require"),
        ("127.0.0.1", ""),
    ] {
        secured.aim(host, parameters, &own);
        let server = secured.site.serve();
        let listens = secured.expect_encrypted(&server, parameters, None);
        // Later connections, too.
        secured.site.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'tinybase' AND datname = current_database()",
        );
        secured.expect_encrypted(&server, parameters, Some(listens));
        server.stop();
    }

    // An authority trusted by the system needs no file.
    secured.aim("localhost", "?sslmode=verify-full", &own);
    secured.site.set("SSL_CERT_FILE", own.to_str().unwrap());
    secured.expect_encrypted(&secured.site.serve(), "the system's trust", None);
}

#[test]
fn a_server_that_is_not_the_one_is_refused_with_what_to_do() {
    let Some(mut secured) = Secured::start() else { return };
    let file = |name: &str| secured.file(name);
    let (own, other, key, missing) = (file("own.pem"), file("other.pem"), file("key.pem"), file("no.pem"));
    let unknown = "comes from nobody who is trusted; sslrootcert";
    for (host, parameters, file, told) in [
        ("localhost", FULL, &other, unknown),
        ("127.0.0.1", ISSUER_ONLY, &other, unknown),
        ("localhost", "?sslmode=verify-full", &own, unknown),
        ("127.0.0.1", FULL, &own, "is for another name than database.url calls it by"),
        // As in PostgreSQL's own clients: if a file is given, it is used for the check.
        ("localhost", "?sslmode=require&sslrootcert={}", &other, unknown),
        ("localhost", "?sslrootcert={}", &own, "of no use without sslmode=verify-full"),
        ("localhost", "?sslmode=disable&sslrootcert={}", &own, "of no use without sslmode=verify-full"),
        ("localhost", "?sslmode=disable", &own, "sslmode=verify-full in database.url asks for it"),
        ("localhost", FULL, &missing, "no.pem: "),
        ("localhost", FULL, &key, "it holds no certificate"),
        ("localhost", "?sslmode=require&sslkey={}", &own, "sslkey cannot be used: "),
        ("localhost", "?sslmod=verify-full", &own, "the parameter sslmod is not known"),
        ("localhost", "?sslmode=verify", &own, "unknown value \"verify\" for `ssl_mode`"),
    ] {
        secured.aim(host, parameters, file);
        let ran = secured.site.serve_in_vain();
        assert_ne!(ran.code, Some(0), "{parameters}: {ran:?}");
        assert!(ran.errors.contains(told), "{host} {parameters}: {ran:?}");
        let url = secured.site.database_url().unwrap();
        let password = url.split([':', '@']).nth(2).unwrap();
        assert!(!ran.errors.contains(password), "{parameters}: {ran:?}");
    }

    let mut plain = Site::new();
    let url = plain.database_url().unwrap();
    plain.set("TINYBASE_DB_URL", &format!("{url}?sslmode=require"));
    let ran = plain.serve_in_vain();
    assert!(ran.errors.contains("the server speaks no TLS, which sslmode"), "{ran:?}");
}
