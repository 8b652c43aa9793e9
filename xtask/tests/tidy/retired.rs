//! Names that were replaced by the field's usual words and must not come back. It checks code only, no comments or
//! strings.

use proc_macro2::{TokenStream, TokenTree};

use super::{Case, File, is_rust};

/// A library that is kept as it was built.
const KEPT: &str = "tests/abi/";

/// The old name, and the new one.
const RETIRED: &[(&str, &str)] = &[
    ("AnswerBody", "ResponseBody"),
    ("Asked", "a noun: PackageSpec, LeaseRequest, Arguments"),
    ("Asker", "RequestContext"),
    ("Followed", "ReconcileOutcome"),
    ("Guesses", "AttemptLimit"),
    ("House", "HostServices"),
    ("LentRequest", "FfiRequest"),
    ("Market", "RegistrySet"),
    ("Member", "ActivePlugin"),
    ("OwnRoute", "HostRoute"),
    ("OwnRoutes", "HostRoutes"),
    ("PluginFigures", "PluginMetrics"),
    ("Redeeming", "DeferredBatchDatabase"),
    ("RouteFigures", "RouteMetrics"),
    ("SameKeys", "KeyConsistency"),
    ("Spoiled", "TransactionAborted"),
    ("Teller", "SubscriptionLease"),
    ("ToldCaller", "CallerPayload"),
    ("ToldRequest", "RequestPayload"),
    ("ToldSignIn", "ExternalIdentity"),
    ("Unopened", "RegistryFailure"),
    ("WatchedIo", "TrackedIo"),
    ("Wish", "InstallRequest, WriteOp"),
    ("answer_error", "error_response"),
    ("bring_back", "roll_back"),
    ("bring_package", "install_or_update"),
    ("bring_up", "activate, load_and_start"),
    ("carry_out", "execute"),
    ("cross_origin", "cors"),
    ("follow_once", "run_once"),
    ("hand_over", "stage_for_server"),
    ("jobs_of_a_group", "group_size_limit"),
    ("look_back", "recover_from_crash"),
    ("may_carry", "is_held"),
    ("own_route", "host_route"),
    ("same_keys", "key_consistency"),
    ("shared_guesses", "attempt_store"),
    ("sign_in_told", "sign_in_external"),
    ("take_hold", "acquire_change_lock"),
    ("take_part", "participate"),
    ("take_up", "reconcile_if_changed"),
    ("tell_state", "report_state"),
    ("time_log", "log_query"),
    ("ways_in", "sign_in_methods"),
];

/// A file that breaks the rule, and one that does not.
pub(super) const CASE: Case<'static> = (
    "retired_names",
    "host/src/x.rs",
    "struct A { one: Vec<Teller> }\n",
    "host/src/x.rs",
    "// Teller\nstruct Bankteller(&'static str);\nconst A: &str = \"Teller\";\n",
);

/// Returns the uses of retired names in a file.
pub(super) fn retired_names(file: &File) -> Vec<String> {
    if !is_rust(file) || file.path.starts_with(KEPT) {
        return vec![];
    }
    let mut faults = Vec::new();
    // A file that is not valid Rust is another rule's fault.
    collect(file.text.parse().unwrap_or_default(), &mut faults);
    faults
}

fn collect(tokens: TokenStream, faults: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                let name_text = name.to_string();
                if let Ok(at) = RETIRED.binary_search_by(|(old, _)| old.cmp(&name_text.as_str())) {
                    let (old, new) = RETIRED[at];
                    faults.push(format!("line {}: `{old}` is {new} now", name.span().start().line));
                }
            }
            TokenTree::Group(group) => collect(group.stream(), faults),
            _ => {}
        }
    }
}

#[test]
fn retired_names_are_in_order() {
    assert!(RETIRED.is_sorted_by(|one, two| one.0 < two.0), "they are searched by halving");
}
