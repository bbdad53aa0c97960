//! Constants as Rust source text.

use std::fmt::Write as _;

use hipflask_runtime::compiled::{ConvShape, Output, PoolShape, QuantParams};

/// Bytes of a literal in a line of text.
const LINE: usize = 32;

/// A byte string literal.
pub(super) fn bytes(bytes: &[u8]) -> String {
    let mut text = String::from("b\"");
    for (i, chunk) in bytes.chunks(LINE).enumerate() {
        if i > 0 {
            text.push_str("\\\n        ");
        }
        for &byte in chunk {
            match byte {
                // A line that goes on in the next one skips the spaces there.
                b' ' => text.push_str("\\x20"),
                _ => text.extend(std::ascii::escape_default(byte).map(char::from)),
            }
        }
    }
    text + "\""
}

/// An array literal; `Debug` of numbers reads back as the same bits.
pub(super) fn array<T: std::fmt::Debug>(values: &[T]) -> String {
    format!("{values:?}")
}

/// Whether a number can stand in a program.
pub(super) fn finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

pub(super) fn params(quant: QuantParams) -> String {
    let QuantParams { scale, zero_point } = quant;
    format!("QuantParams {{ scale: {scale:?}, zero_point: {zero_point} }}")
}

pub(super) fn output(output: Output) -> String {
    let Output { zero_point, lo, hi } = output;
    format!("Output {{ zero_point: {zero_point}, lo: {lo}, hi: {hi} }}")
}

pub(super) fn conv_shape(shape: &ConvShape) -> String {
    format!("{shape:?}")
}

pub(super) fn pool_shape(shape: &PoolShape) -> String {
    format!("{shape:?}")
}

/// A documentation comment of what a name says, on one line.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A string literal.
pub(super) fn string(text: &str) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(literal, "\\u{{{:x}}}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal + "\""
}

/// Names of constants: capitals, digits and underscores, none twice.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: std::collections::BTreeSet<String>,
}

impl Names {
    pub(super) fn of(&mut self, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let text: String = name.chars().map(plain).collect();
        // Not one of the constants that every program has.
        let first = format!("W_{}", text.trim_matches('_'));
        let mut name = first.clone();
        let mut more = 1;
        while !self.taken.insert(name.clone()) {
            more += 1;
            name = format!("{first}_{more}");
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_strings_keep_spaces_at_the_beginning_of_a_line() {
        assert_eq!(bytes(b"a\"\\\0\xff"), r#"b"a\"\\\x00\xff""#);
        let wide = bytes(&[b' '; LINE + 1]);
        assert!(wide.ends_with("\\\n        \\x20\""), "{wide}");
    }

    #[test]
    fn names_are_identifiers_and_differ() {
        let mut names = Names::default();
        let made = ["layers.0.conv", "layers.0-conv", "é", "0"].map(|name| names.of(name));
        assert_eq!(made, ["W_LAYERS_0_CONV", "W_LAYERS_0_CONV_2", "W_", "W_0"]);
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"b\\c\nd"), r#""a\"b\\c\u{a}d""#);
    }
}
