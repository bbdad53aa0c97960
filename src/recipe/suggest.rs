//! What to say of a name that is none: the nearest valid one, and all of them.

use hipflask_distill::suggest::nearest;

/// `unknown key "epoch" in [distill]: did you mean "epochs"? (valid: …)`
pub(super) fn unknown(what: &str, name: &str, place: &str, valid: &[&str]) -> String {
    let hint = match nearest(name, valid.iter().copied()) {
        Some(near) => format!(": did you mean \"{near}\"?"),
        None => String::new(),
    };
    let valid = valid.join(", ");
    format!("unknown {what} \"{name}\" {place}{hint} (valid: {valid})")
}
