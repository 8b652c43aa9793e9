//! A registry behind TLS, with a certificate generated in each run: sites that trust its authority install from it, and
//! others get a clear error.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::json;
use tinybase_tests::{Registry, Site, fixtures};

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Serves a folder over TLS as `localhost`, until the test's process ends. Returns the port.
    fn serve(&self, folder: &Path) -> u16 {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        let (config, folder) = (Arc::new(config.unwrap()), folder.to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, folder) = (Arc::clone(&config), folder.clone());
                // A client that does not trust the certificate closes the connection.
                thread::spawn(move || drop(answer(stream.unwrap(), config, &folder)));
            }
        });
        port
    }
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>, folder: &Path) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut request = String::new();
    stream.read_line(&mut request)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let (status, body) = match fs::read(folder.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// A registry with `pulse`, and a separate package of `neighbour`, behind TLS.
struct Secured {
    registry: Registry,
    site: Site,
    port: u16,
    neighbour: String,
}

impl Secured {
    fn new() -> Secured {
        let registry = Registry::start(&["pulse", "neighbour"]);
        let mut site = Site::new();
        site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
        registry.configure(&mut site);
        registry.publish(&site, &fixtures::stress("pulse", site.packages()));
        let packed = registry.publish(&site, &fixtures::stress("neighbour", site.packages()));
        let name = packed.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(&packed, registry.files().join(&name)).unwrap();
        let own = Authority::new("the operator's own authority");
        let port = own.serve(&registry.files());
        fs::write(site.dir().join("own.pem"), own.certificate).unwrap();
        let other = Authority::new("another authority").certificate;
        fs::write(site.dir().join("other.pem"), other).unwrap();
        Secured { neighbour: format!("https://localhost:{port}/{name}"), registry, site, port }
    }

    /// Makes later commands use `host` and trust the authority in this file.
    fn ask(&mut self, host: &str, trusted: &str) {
        let file: PathBuf = self.site.dir().join(trusted);
        self.site.set("SSL_CERT_FILE", file.to_str().unwrap());
        let registry = format!("acme=https://{host}:{}", self.port);
        self.site.set("TINYBASE_EXTENSIONS_REGISTRIES", &registry);
    }
}

#[test]
fn who_trusts_the_authority_installs_from_a_registry_behind_tls() {
    let mut secured = Secured::new();
    secured.ask("localhost", "own.pem");
    let site = &secured.site;
    let server = site.serve();
    let found = site.done(&["extensions", "search", "pulse"]);
    assert!(found.contains("acme/acme"), "{found}");
    let installed = server.admin().post("/api/admin/extensions", &json!({"source": "pulse"})).expect(201);
    assert_eq!(installed["registry"], "acme");
    assert_eq!(server.client().get("/api/pulse").status, 200);
    assert_eq!(site.done(&["extensions", "audit"]), "");

    // And a package by its URL.
    let installed = site.done(&["extensions", "install", "--yes", &secured.neighbour]);
    assert!(installed.contains("installed neighbour"), "{installed}");
    assert_eq!(server.client().get("/api/neighbour/hello").status, 200);
    assert!(secured.registry.url().starts_with("http://"), "the same files are served without TLS");
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_by_its_own_code() {
    let mut secured = Secured::new();
    for (host, trusted, problem) in
        [("localhost", "other.pem", "UnknownIssuer"), ("127.0.0.1", "own.pem", "not valid for")]
    {
        secured.ask(host, trusted);
        let site = &secured.site;
        let server = site.serve();
        let refused = server.admin().post("/api/admin/extensions", &json!({"source": "pulse"}));
        assert_eq!(refused.outcome(), (502, "registry_certificate".into()), "{host}: {refused:?}");
        let ran = site.run(&["extensions", "install", "pulse", "--yes"]);
        let told = ["the registry \"acme\"", "its certificate is not trusted", problem, "SSL_CERT_FILE"];
        for words in told {
            assert!(ran.code == Some(1) && ran.errors.contains(words), "{words}: {ran:?}");
        }
        let listed = server.admin().get("/api/admin/registries/extensions").expect(200);
        assert!(listed["failures"][0].as_str().unwrap().contains(problem), "{listed}");
        assert_eq!(server.client().get("/api/pulse").status, 404);
    }
    secured.ask("localhost", "other.pem");
    let ran = secured.site.run(&["extensions", "install", "--yes", &secured.neighbour]);
    assert!(ran.code == Some(1) && ran.errors.contains("UnknownIssuer"), "{ran:?}");
}
