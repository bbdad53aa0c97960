//! A triangular factor of a matrix of second moments, for rounding one weight after another.

/// Share of the mean of the diagonal that is added to it, so that it can be factored (Frantar et al.
/// 2022, section 3.3).
const DAMPING: f64 = 0.01;

/// Second moments `Σ x · xᵀ` of patches, `[k, k]`; the lower half is filled.
pub(super) struct Moments {
    k: usize,
    sums: Vec<f64>,
}

impl Moments {
    /// All zero.
    pub(super) fn new(k: usize) -> Self {
        Self { k, sums: vec![0.0; k * k] }
    }

    /// Adds `x · xᵀ`.
    pub(super) fn add(&mut self, x: &[f64]) {
        for (i, row) in self.sums.chunks_mut(self.k).enumerate() {
            // After a ReLU half of them.
            if x[i] == 0.0 {
                continue;
            }
            for (sum, v) in row[..=i].iter_mut().zip(x) {
                *sum += x[i] * v;
            }
        }
    }

    /// `M`, lower triangular with ones on the diagonal, and `d` so that `H = Mᵀ · diag(d) · M` for the
    /// damped moments `H`: then `eᵀ H e = Σ_j d_j (e_j + Σ_{i<j} M_ji e_i)²`, in which each term knows
    /// only the errors before it.
    pub(super) fn factored(self) -> Factor {
        let Self { k, sums: mut h } = self;
        let mean = (0..k).map(|i| h[i * k + i]).sum::<f64>() / k as f64;
        // Inputs that are always zero leave their weights free; any positive number does.
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        let mut d = vec![0.0; k];
        for j in (0..k).rev() {
            d[j] = h[j * k + j] + damping;
            // What is left to the rows above once term j is taken out.
            let (above, from_j) = h.split_at_mut(j * k);
            let row = &mut from_j[..j];
            for (i, above) in above.chunks_mut(k).enumerate() {
                let share = row[i] / d[j];
                for (left, v) in above[..=i].iter_mut().zip(&*row) {
                    *left -= share * v;
                }
            }
            for v in row {
                *v /= d[j];
            }
        }
        Factor { k, m: h, d }
    }
}

/// See [`Moments::factored`].
pub(super) struct Factor {
    k: usize,
    /// `[k, k]`, of which the part below the diagonal counts.
    m: Vec<f64>,
    d: Vec<f64>,
}

impl Factor {
    /// `Σ_{i<j} M_ji e_i`
    pub(super) fn carried(&self, j: usize, errors: &[f64]) -> f64 {
        self.m[j * self.k..][..j].iter().zip(errors).map(|(m, e)| m * e).sum()
    }

    /// `eᵀ H e`
    pub(super) fn cost(&self, errors: &[f64]) -> f64 {
        let term = |j: usize| errors[j] + self.carried(j, errors);
        (0..self.k).map(|j| self.d[j] * term(j) * term(j)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_gives_the_quadratic_form() {
        let patches = [[1.0, 2.0, 0.5, -1.0], [0.0, 1.0, -3.0, 2.0], [2.0, 2.0, 1.0, 0.0]];
        let mut moments = Moments::new(4);
        for x in &patches {
            moments.add(x);
        }
        let trace: f64 = patches.iter().flatten().map(|v| v * v).sum();
        let factor = moments.factored();
        for errors in [[0.3, -0.2, 0.7, 0.1], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -2.0, 0.4]] {
            let product = |x: &[f64; 4]| x.iter().zip(&errors).map(|(x, e)| x * e).sum::<f64>();
            let squares: f64 = patches.iter().map(|x| product(x) * product(x)).sum();
            let damping: f64 = errors.iter().map(|e| e * e * DAMPING * trace / 4.0).sum();
            let found = factor.cost(&errors);
            assert!((found - squares - damping).abs() < 1e-9, "{found} {squares} {damping}");
        }
    }
}
