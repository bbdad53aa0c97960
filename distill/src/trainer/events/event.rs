//! The few messages of TensorFlow's `event.proto` and `summary.proto` that scalars need, in Protocol
//! Buffers' wire format.

/// What one event says.
pub(super) enum What<'a> {
    /// The first of a file: its version.
    Version,
    /// A run goes on: what earlier files say of this step and later ones is void.
    Restart,
    /// Numbers by tag.
    Scalars(&'a [(&'a str, f64)]),
}

/// An `Event` of `step` at `wall_time`, in seconds since 1970.
pub(super) fn event(wall_time: f64, step: u64, what: &What<'_>) -> Vec<u8> {
    let mut event = key(1, FIXED64);
    event.extend(wall_time.to_le_bytes());
    event.extend(key(2, VARINT));
    event.extend(varint(step));
    match what {
        What::Version => event.extend(nested(3, b"brain.Event:2")),
        What::Restart => {
            // SessionLog { status: START }
            let status = [key(1, VARINT), varint(1)].concat();
            event.extend(nested(7, &status));
        }
        What::Scalars(scalars) => {
            let mut summary = Vec::new();
            for (tag, value) in *scalars {
                let mut entry = nested(1, tag.as_bytes());
                entry.extend(key(2, FIXED32));
                entry.extend((*value as f32).to_le_bytes());
                summary.extend(nested(1, &entry));
            }
            event.extend(nested(5, &summary));
        }
    }
    event
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

fn key(field: u64, wire: u64) -> Vec<u8> {
    varint(field << 3 | wire)
}

fn nested(field: u64, bytes: &[u8]) -> Vec<u8> {
    [&key(field, BYTES), &varint(bytes.len() as u64), bytes].concat()
}

/// Seven bits a byte, lowest first; all but the last byte have their top bit set.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{What, event};

    #[test]
    fn events_are_the_bytes_of_the_wire_format() {
        // By hand: field 1 is a double, field 2 a varint, 300 = 0b10_0101100.
        let head = [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xac, 2];
        let version = [&head[..], &[0x1a, 13], b"brain.Event:2"].concat();
        assert_eq!(event(1.0, 300, &What::Version), version);
        assert_eq!(event(1.0, 300, &What::Restart), [&head[..], &[0x3a, 2, 8, 1]].concat());
        // summary { value { tag: "a" simple_value: 0.5 } value { tag: "b" simple_value: 1 } }
        let values = [
            0x0a, 8, 0x0a, 1, b'a', 0x15, 0, 0, 0, 0x3f, 0x0a, 8, 0x0a, 1, b'b', 0x15, 0, 0, 0x80,
            0x3f,
        ];
        let scalars = event(1.0, 300, &What::Scalars(&[("a", 0.5), ("b", 1.0)]));
        assert_eq!(scalars, [&head[..], &[0x2a, 20], &values].concat());
    }
}
