//! Small tensors of integers: the arithmetic by which exporters write shapes and paddings.

use hipflask_runtime::Result;

use super::node::{fault, unsupported};

/// Most elements: shapes and paddings have a handful.
const MOST: usize = 1024;

/// A constant of integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ints {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<i64>,
}

impl Ints {
    /// A list.
    pub(super) fn list(values: Vec<i64>) -> Self {
        Self { dims: vec![values.len()], values }
    }

    /// A tensor that is checked: as many values as `dims` ask for, and not many. Of empty ones, there
    /// is only the empty list, so no dimension is larger than the number of values.
    pub(super) fn new(dims: Vec<usize>, values: Vec<i64>) -> Result<Self> {
        match dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)) {
            Some(0) if dims != [0] => Err(fault(format!("the empty shape {dims:?} of integers"))),
            Some(count) if count == values.len() && count <= MOST => Ok(Self { dims, values }),
            _ => Err(fault(format!("{} integers do not have the shape {dims:?}", values.len()))),
        }
    }

    /// `value` everywhere.
    pub(super) fn filled(dims: Vec<usize>, value: i64) -> Result<Self> {
        let count = dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        match count.filter(|&n| n <= MOST) {
            Some(count) => Self::new(dims, vec![value; count]),
            None => Err(unsupported(format!("a constant of shape {dims:?} is no shape"))),
        }
    }

    /// The tensors one after the other along `axis`; all else is the same in all of them.
    pub(super) fn concat(parts: &[Self], axis: usize) -> Result<Self> {
        let rank = parts.first().map_or(0, |p| p.dims.len());
        let mut dims = parts.first().map(|p| p.dims.clone()).unwrap_or_default();
        if let Some(size) = dims.get_mut(axis) {
            *size = parts.iter().filter_map(|p| p.dims.get(axis)).sum();
        }
        // Rows of what lies within `axis`, for each index of what lies before it.
        let outer: usize = dims.iter().take(axis).product();
        let row = |p: &Self| p.dims.iter().skip(axis).product::<usize>();
        let mut values = Vec::new();
        for i in 0..outer {
            for part in parts {
                let row = row(part);
                if part.dims.len() != rank {
                    return Err(fault("joins integers of different ranks"));
                }
                values.extend(part.values.iter().skip(i.saturating_mul(row)).take(row));
            }
        }
        Self::new(dims, values)
    }

    /// The elements `indices` along `axis`.
    pub(super) fn select(&self, axis: usize, indices: &[usize]) -> Result<Self> {
        let size = self.dims.get(axis).copied().unwrap_or(0);
        let inner: usize = self.dims.iter().skip(axis).skip(1).product();
        let mut values = Vec::new();
        for block in self.values.chunks(size.saturating_mul(inner).max(1)) {
            for &index in indices {
                values.extend(block.iter().skip(index.saturating_mul(inner)).take(inner));
            }
        }
        let mut dims = self.dims.clone();
        if let Some(size) = dims.get_mut(axis) {
            *size = indices.len();
        }
        Self::new(dims, values)
    }

    /// Rows become columns.
    pub(super) fn transposed(&self) -> Result<Self> {
        match self.dims[..] {
            [rows, columns] => {
                let column = |c| self.values.iter().skip(c).step_by(columns.max(1));
                Self::new(vec![columns, rows], (0..columns).flat_map(column).copied().collect())
            }
            _ => Err(unsupported("transposes integers that are no matrix")),
        }
    }
}

/// The indices that `start..end` by `step` takes of a dimension of `size`, all as ONNX's `Slice`
/// has them: negative ones count from the end, and what is beyond is cut off.
pub(super) fn sliced(size: usize, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    let size = i64::try_from(size).ok()?;
    let from_end = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    let last = size.checked_sub(1)?;
    let (mut at, end) = match step {
        1.. => (from_end(start).clamp(0, size), from_end(end).clamp(0, size)),
        0 => return None,
        _ => (from_end(start).clamp(0, last.max(0)), from_end(end).clamp(-1, last)),
    };
    let mut indices = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        indices.push(usize::try_from(at).ok()?);
        at = at.saturating_add(step);
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn matrix() -> Ints {
        Ints::new(vec![2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap()
    }

    #[test]
    fn slices_as_onnx_has_them() {
        assert_eq!(sliced(5, 1, 4, 1), Some(vec![1, 2, 3]));
        assert_eq!(sliced(5, 0, i64::MAX, 2), Some(vec![0, 2, 4]));
        assert_eq!(sliced(5, -2, i64::MAX, 1), Some(vec![3, 4]));
        assert_eq!(sliced(3, -1, -i64::MAX, -1), Some(vec![2, 1, 0]));
        assert_eq!(sliced(3, i64::MAX, i64::MIN, -2), Some(vec![2, 0]));
        assert_eq!(sliced(3, 2, 1, 1), Some(vec![]));
        assert_eq!(sliced(0, 0, 9, 1), Some(vec![]));
        assert_eq!(sliced(3, 0, 9, 0), None);
    }

    #[test]
    fn tensors_are_joined_selected_and_transposed() {
        let m = matrix();
        let wide = Ints::concat(&[m.clone(), m.clone()], 1).unwrap();
        assert_eq!(wide.values, [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
        let tall = Ints::concat(&[m.clone(), m.clone()], 0).unwrap();
        assert_eq!((tall.dims, tall.values), (vec![4, 3], [1, 2, 3, 4, 5, 6].repeat(2)));
        assert_eq!(m.select(0, &[1, 0]).unwrap().values, [4, 5, 6, 1, 2, 3]);
        assert_eq!(m.select(1, &[2]).unwrap().values, [3, 6]);
        assert_eq!(m.transposed().unwrap().values, [1, 4, 2, 5, 3, 6]);
        assert!(Ints::concat(&[m.clone(), Ints::list(vec![1])], 1).is_err());
        assert!(Ints::filled(vec![1 << 40], 0).is_err());
        assert!(Ints::filled(vec![usize::MAX, 2], 0).is_err());
        assert!(Ints::filled(vec![1 << 40, 0], 0).is_err());
    }
}
