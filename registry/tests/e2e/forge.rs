//! Forged metadata that our tools would not write, signed with real keys: what an attacker with stolen keys, or a
//! malicious publisher, can put into a registry.

use std::fs;

use ed25519_dalek::{Signer, SigningKey, pkcs8::DecodePrivateKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tinybase_package::unpacked::hex;
use tough::schema::{Role, Signed, Snapshot, Targets, Timestamp};

use crate::site::Site;

/// Returns a role's newest metadata: its version and content.
pub(crate) fn newest(site: &Site, role: &str) -> (u64, Value) {
    let versions = crate::site::files(&site.path("r/metadata"));
    let version = versions
        .iter()
        .filter_map(|path| {
            path.file_name()?.to_str()?.strip_suffix(&format!(".{role}.json"))?.parse::<u64>().ok()
        })
        .max()
        .unwrap();
    let json = fs::read(site.path(&format!("r/metadata/{version}.{role}.json"))).unwrap();
    (version, serde_json::from_slice(&json).unwrap())
}

fn sign<T: Role + serde::de::DeserializeOwned>(site: &Site, value: &Value, key: &str) -> Vec<u8> {
    let mut value = value.clone();
    let role: Signed<T> = serde_json::from_value(value.clone()).unwrap();
    let pem = fs::read_to_string(site.path(key)).unwrap();
    let signature = SigningKey::from_pkcs8_pem(&pem).unwrap().sign(&role.signed.canonical_form().unwrap());
    let id = tinybase_registry::repository::keys::KeyFile::read(&site.path(key)).unwrap().id;
    value["signatures"] = serde_json::json!([{"keyid": id, "sig": hex(&signature.to_bytes())}]);
    serde_json::to_vec_pretty(&value).unwrap()
}

/// Changes a targets role, signs it with the given key, and updates snapshot and timestamp.
pub(crate) fn forge(site: &Site, role: &str, key: &str, edit: impl FnOnce(&mut Value)) {
    let (version, mut value) = newest(site, role);
    value["signed"]["version"] = (version + 1).into();
    edit(&mut value["signed"]);
    let bytes = sign::<Targets>(site, &value, key);
    fs::write(site.path(&format!("r/metadata/{}.{role}.json", version + 1)), &bytes).unwrap();
    let listed = |bytes: &[u8], version: u64| {
        serde_json::json!({
            "version": version, "length": bytes.len(), "hashes": {"sha256": hex(&Sha256::digest(bytes))}
        })
    };
    let (snapshot_version, mut snapshot) = newest(site, "snapshot");
    snapshot["signed"]["version"] = (snapshot_version + 1).into();
    snapshot["signed"]["meta"][format!("{role}.json")] = listed(&bytes, version + 1);
    let bytes = sign::<Snapshot>(site, &snapshot, "r-keys/snapshot.pem");
    fs::write(site.path(&format!("r/metadata/{}.snapshot.json", snapshot_version + 1)), &bytes).unwrap();
    let path = site.path("r/metadata/timestamp.json");
    let mut timestamp: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let timestamp_version = timestamp["signed"]["version"].as_u64().unwrap();
    timestamp["signed"]["version"] = (timestamp_version + 1).into();
    timestamp["signed"]["meta"]["snapshot.json"] = listed(&bytes, snapshot_version + 1);
    fs::write(&path, sign::<Timestamp>(site, &timestamp, "r-keys/timestamp.pem")).unwrap();
}
