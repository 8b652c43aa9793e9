//! The list of all actions in the host's own entries. Actions of extensions begin with their names instead.

/// Each action, and when it gets an entry. The part before the `.` is an area; no extension may have the name of an
/// area.
pub const ACTIONS: &[(&str, &str)] = &[
    (
        "application_token.create",
        "a token for programs was made; neither here nor below is the token itself written",
    ),
    ("application_token.update", "its name or description was changed, or it was switched on or off"),
    ("application_token.delete", "it is no more"),
    ("extension.install", "it was installed; `init` does that for those that came with the program"),
    (
        "extension.update",
        "another version took its place; at a start the server does that for those that came with it",
    ),
    ("extension.enable", "it is loaded from then on"),
    ("extension.disable", "it is loaded no more; by `tinybase` itself where a registry revoked it"),
    (
        "extension.rollback",
        "the version before took its place again; by `tinybase` itself where an update failed",
    ),
    ("extension.uninstall", "it is gone; by `tinybase` itself where its installation failed"),
    ("extension.quarantine", "the server went down while it was loaded, and leaves it out from now on"),
    ("key.adopt", "the database is served with another key from then on: `tinybase keys adopt`"),
    ("mfa.enable", "a user switched the second factor on"),
    ("mfa.disable", "the user or an admin switched it off"),
    ("mfa.recovery_code_use", "a recovery code was used up"),
    ("mfa.recovery_codes_renew", "the user has new recovery codes"),
    ("session.end", "a user ended a session"),
    ("session.end_others", "a user ended all sessions but that of the request"),
    ("session.reuse", "a refresh token was used twice, which ended its session"),
    ("settings.update", "settings of the instance were changed"),
    ("user.create", "an account was made: by itself, by the first login, by an admin, at the command line"),
    ("user.update", "an account was changed; of a password it says only that it changed"),
    ("user.delete", "an account is no more"),
    ("user.login_backoff", "too many passwords were tried for an account: further ones have to wait"),
    ("user.login_link", "a mailed link was used to sign in"),
    ("user.login_link_request", "a link to sign in was asked for"),
    ("user.logout", "a user ended all sessions"),
    ("user.password_reset", "a mailed link was used to set a new password"),
    ("user.password_reset_request", "a link to set a new password was asked for"),
];

/// Returns whether it is an action of the host.
pub(super) fn is_known(action: &str) -> bool {
    ACTIONS.iter().any(|(known, _)| *known == action)
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write, fs, path::Path};

    use super::*;

    #[test]
    fn no_extension_may_be_called_like_an_area() {
        for area in ACTIONS.iter().filter_map(|(action, _)| action.split_once('.')).map(|(area, _)| area) {
            assert!(tinybase_package::manifest::is_reserved(area), "{area} is not reserved");
        }
    }

    #[test]
    fn the_documentation_lists_every_action() {
        let mut table = String::from("| action of the server | when |\n|---|---|\n");
        for (action, when) in ACTIONS {
            writeln!(table, "| `{action}` | {when} |").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit-log.md");
        let page = fs::read_to_string(&path).unwrap();
        let start = page.find("| action of the server |").expect("the page has the table of actions");
        let end = page[start..].find("\n\n").map_or(page.len(), |length| start + length + 1);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
            return;
        }
        assert_eq!(&page[start..end], table, "run the test with UPDATE_EXPECT=1 to write the table again");
    }
}
