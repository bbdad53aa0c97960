//! Int8 as seen from f32: values rounded to what integers stand for, with gradients that pass the
//! rounding (Esser et al. 2020, "Learned Step Size Quantization").

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result as CandleResult, Shape, Tensor};
use hipflask_runtime::kernels::Body;
use rayon::prelude::*;

use super::buffer::{PairSums, host, on_host, operand, output, tensor};
use super::simd::vectorized;
use crate::Result;

/// Elements that one task handles.
const BLOCK: usize = 1 << 15;

/// What is left of `x [n, …]` in int8 of scale `s = exp(log_scale)` and `zero_point`:
/// `s · round(clamp(x / s))`, clamped to `[-128 - zero_point, 127 - zero_point]`.
///
/// The rounding has slope 1: the gradient of `x` is `∂y` within the range and 0 outside. That of
/// `log_scale`, a single number, is `g · s · Σ ∂y · (round(x / s) - x / s)` within and `g · s · Σ ∂y · bound`
/// outside, where the paper's `g = 1 / √(127 · values of a sample)` makes a step of a scale as large
/// as one of a weight. It is learnt as a logarithm, so that it stays positive and a step is a share of
/// it (Jain et al. 2020, "Trained Quantization Thresholds").
pub fn fake_quantize(x: &Tensor, log_scale: &Tensor, zero_point: i8) -> Result<Tensor> {
    let values = x.elem_count() / x.dim(0)?.max(1);
    let zero = f32::from(zero_point);
    let op = FakeQuantize {
        lowest: -128.0 - zero,
        highest: 127.0 - zero,
        share: 1.0 / (127.0 * values.max(1) as f64).sqrt(),
    };
    if on_host(x) {
        return Ok(x.contiguous()?.apply_op2(log_scale, op)?);
    }
    composed(x, log_scale, &op)
}

/// What is left of weights `w [o, …]` in int8, symmetric, with one scale an output channel,
/// `max|w| / 127` as in the conversion; the gradient of `w` is `∂y`.
pub fn fake_quantize_weights(w: &Tensor) -> Result<Tensor> {
    let rows = w.detach().flatten_from(1)?;
    let largest = rows.abs()?.max_keepdim(D::Minus1)?;
    // A row of zeros has any scale.
    let ones = largest.ones_like()?;
    let scale = largest.le(0.0)?.where_cond(&ones, &(&largest / 127.0)?)?;
    let rounded = rows.broadcast_div(&scale)?.round()?.broadcast_mul(&scale)?.reshape(w.shape())?;
    Ok((w + (rounded - w.detach())?)?)
}

/// The same by candle's differentiable operations; ties are rounded away from zero.
fn composed(x: &Tensor, log_scale: &Tensor, op: &FakeQuantize) -> Result<Tensor> {
    let constant = (log_scale.detach() * (1.0 - op.share))?;
    let scale = ((log_scale * op.share)? + constant)?.exp()?;
    let steps = x.broadcast_div(&scale)?.clamp(op.lowest, op.highest)?;
    let rounded = (&steps + (steps.detach().round()? - steps.detach())?)?;
    Ok(rounded.broadcast_mul(&scale)?)
}

struct FakeQuantize {
    /// Smallest and largest number of steps from zero.
    lowest: f32,
    highest: f32,
    /// Of the gradient of the scale.
    share: f64,
}

impl CustomOp2 for FakeQuantize {
    fn name(&self) -> &'static str {
        "fake-quantize"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        log_scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> CandleResult<(CpuStorage, Shape)> {
        let (x, scale) = (operand(x, layout)?, operand(log_scale, scale_layout)?[0].exp());
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
            vectorized(Round { op: self, scale, x, y });
        });
        Ok(output(y, layout.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        log_scale: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> CandleResult<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (xs, dys, scale) = (host(x)?, host(&dy)?, host(log_scale)?[0].exp());
        let mut dx = vec![0.0; xs.len()];
        let blocks = dx.par_chunks_mut(BLOCK).zip(xs.par_chunks(BLOCK));
        let sums: Vec<f64> = blocks
            .zip(dys.par_chunks(BLOCK))
            .map(|((dx, x), dy)| {
                vectorized(Pass { op: self, scale, x, dy, dx });
                let (lowest, highest) = (self.lowest, self.highest);
                let f = |dy: f32, x: f32| {
                    let steps = x / scale;
                    let slope = if steps < lowest {
                        lowest
                    } else if steps > highest {
                        highest
                    } else {
                        steps.round_ties_even() - steps
                    };
                    (dy * slope, 0.0)
                };
                vectorized(PairSums { a: dy, b: x, channels: 1, plane: x.len(), c: 0, f }).0
            })
            .collect();
        let slope = sums.iter().sum::<f64>() * f64::from(scale) * self.share;
        Ok((Some(tensor(dx, x)?), Some(tensor(vec![slope as f32], log_scale)?)))
    }
}

/// A part of the forward pass.
struct Round<'a> {
    op: &'a FakeQuantize,
    scale: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Body for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { op: &FakeQuantize { lowest, highest, .. }, scale, x, y } = self;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x / scale).clamp(lowest, highest).round_ties_even() * scale;
        }
    }
}

/// A part of the gradient of `x`.
struct Pass<'a> {
    op: &'a FakeQuantize,
    scale: f32,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Body for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { op: &FakeQuantize { lowest, highest, .. }, scale, x, dy, dx } = self;
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            let steps = x / scale;
            *dx = if steps >= lowest && steps <= highest { dy } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use candle_core::{Device, Var};
    use hipflask_runtime::quant::QuantParams;

    use super::super::gradcheck::{assert_close, backward, random, values};
    use super::*;

    fn op(zero_point: i8, values: f64) -> FakeQuantize {
        let zero = f32::from(zero_point);
        let share = 1.0 / (127.0 * values).sqrt();
        FakeQuantize { lowest: -128.0 - zero, highest: 127.0 - zero, share }
    }

    #[test]
    fn values_are_those_of_the_integers() {
        let params = QuantParams { scale: 0.007, zero_point: -30 };
        let x = random(&[3, 1000], 1);
        let log_scale = Tensor::new(params.scale.ln(), &Device::Cpu).unwrap();
        let got = values(&fake_quantize(&x, &log_scale, params.zero_point).unwrap());
        // The logarithm costs the scale some of its last bits.
        let params = QuantParams { scale: params.scale.ln().exp(), ..params };
        for (&x, got) in values(&x).iter().zip(got) {
            let expected = params.dequantize(params.quantize(x));
            assert!((got - expected).abs() <= 1e-6 * expected.abs(), "{x}: {got}, not {expected}");
        }
    }

    #[test]
    fn gradients_by_hand() {
        // Scale 0.5, zero point 125: from -253 to 2 steps. x = 0.6 is 1.2 steps: rounded by -0.2;
        // 1.3 is 2.6, above 2; -127 is -254, below -253; 0.25 is half a step, a tie: rounded by -0.5.
        let x = Var::new(&[[0.6_f32, 1.3], [-127.0, 0.25]], &Device::Cpu).unwrap();
        let log_scale = Var::new(0.5_f32.ln(), &Device::Cpu).unwrap();
        let y = fake_quantize(&x, &log_scale, 125).unwrap();
        assert_eq!(values(&y), [0.5, 1.0, -126.5, 0.0]);
        let weights = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let gradients = (y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(values(gradients.get(&x).unwrap()), [1.0, 0.0, 0.0, 4.0]);
        // Σ = 1 · -0.2 + 2 · 2 + 3 · -253 + 4 · -0.5; two values a sample.
        let expected = (-0.2 + 4.0 - 759.0 - 2.0) * 0.5 / (2.0_f32 * 127.0).sqrt();
        let got = values(gradients.get(&log_scale).unwrap())[0];
        assert!((got - expected).abs() < 1e-3, "{got}, not {expected}");
    }

    #[test]
    fn composition_of_candle_operations_agrees() {
        // More than one block, and no ties.
        let x = random(&[5, 9000], 2);
        let log_scale = Tensor::new(0.003_f32.ln(), &Device::Cpu).unwrap();
        let inputs = [x, log_scale];
        let ours = |t: &[Tensor]| fake_quantize(&t[0], &t[1], 20);
        let theirs = |t: &[Tensor]| composed(&t[0], &t[1], &op(20, 9000.0));
        assert_close("values", &ours(&inputs).unwrap(), &theirs(&inputs).unwrap());
        let (ours, theirs) = (backward(&inputs, ours).unwrap(), backward(&inputs, theirs).unwrap());
        assert_close("x", &ours[0], &theirs[0]);
        assert_close("log_scale", &ours[1], &theirs[1]);
    }

    #[test]
    fn weights_keep_their_gradients_and_become_multiples_of_their_rows_scale() {
        // Scales 1.27 / 127 = 0.01 and, of zeros, any.
        let w = Tensor::new(&[[1.27_f32, -0.634, 0.001], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        let y = fake_quantize_weights(&w).unwrap();
        for (got, expected) in values(&y).iter().zip([1.27, -0.63, 0.0, 0.0, 0.0, 0.0]) {
            assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
        }
        let gradients = backward(&[w], |t| fake_quantize_weights(&t[0])).unwrap();
        assert_eq!(values(&gradients[0]), values(&random(&[2, 3], 99)));
    }
}
