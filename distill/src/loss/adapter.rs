//! Adapters: small layers between the student's inner values and the teacher's, trained with the
//! student and thrown away after it.

use candle_core::{Device, Tensor, Var};

use crate::nn::linear;
use crate::optim::Parameter;
use crate::random::Stream;
use crate::{Error, ErrorKind, Result};

/// A linear map from `inputs` to `outputs` values with a bias; on `[n, c, h, w]` a 1×1 convolution.
pub(super) struct Adapter {
    weight: Parameter,
    bias: Parameter,
}

impl Adapter {
    /// Weights as PyTorch's `nn.Linear` and `nn.Conv2d` begin: uniform in `±1 / √inputs`.
    ///
    /// `name` tells their random numbers apart from others' under the same `seed`.
    pub(super) fn new(
        name: &str,
        (inputs, outputs): (usize, usize),
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let parameter = |role: &str, shape: &[usize]| -> Result<Parameter> {
            let name = format!("{name}.{role}");
            let var = uniform(&name, shape, bound, seed, device)?;
            Ok(Parameter { name, var })
        };
        let weight = parameter("weight", &[outputs, inputs])?;
        Ok(Self { weight, bias: parameter("bias", &[outputs])? })
    }

    /// Maps the channels of `[n, c, h, w]`, or the last dimension of any other shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let [n, _, h, w] = x.dims()[..] {
            let y = self.rows(&x.permute((0, 2, 3, 1))?.contiguous()?.flatten(0, 2)?)?;
            return Ok(y.reshape((n, h, w, y.dim(1)?))?.permute((0, 3, 1, 2))?.contiguous()?);
        }
        let Some((&inputs, rest)) = x.dims().split_last() else {
            let message = "an adapter needs a value with a batch";
            return Err(Error::new(ErrorKind::Shape, "adapter", message));
        };
        let y = self.rows(&x.contiguous()?.reshape((rest.iter().product::<usize>(), inputs))?)?;
        Ok(y.reshape([rest, &[y.dim(1)?]].concat())?)
    }

    fn rows(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, self.weight.var.as_tensor(), Some(self.bias.var.as_tensor()))
    }

    /// Its variables.
    pub(super) fn parameters(&self) -> [Parameter; 2] {
        [self.weight.clone(), self.bias.clone()]
    }
}

/// A variable of numbers in ±`bound`, each equally likely, from the stream `name`.
pub(super) fn uniform(
    name: &str,
    shape: &[usize],
    bound: f32,
    seed: u64,
    device: &Device,
) -> Result<Var> {
    let mut stream = Stream::new(seed, name, &[]);
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|_| (stream.unit() * 2.0 - 1.0) * bound).collect();
    Ok(Var::from_vec(values, shape, device)?)
}

/// Mean over windows, as PyTorch's `adaptive_avg_pool2d`: `[n, c, h, w]` to `size` `[h, w]`.
///
/// Output `i` of `m` from `k` rows is the mean of rows `⌊i·k/m⌋` to `⌈(i+1)·k/m⌉`; the windows are
/// rectangles, so the two axes are two products with constant matrices.
pub(super) fn pool_to(x: &Tensor, [h, w]: [usize; 2]) -> Result<Tensor> {
    let (n, c, from_h, from_w) = x.dims4()?;
    let columns = x.contiguous()?.reshape((n * c * from_h, from_w))?;
    let narrow = linear(&columns, &windows(from_w, w, x.device())?, None)?;
    let rows = narrow.reshape((n * c, from_h, w))?.transpose(1, 2)?.contiguous()?;
    let low = linear(&rows.reshape((n * c * w, from_h))?, &windows(from_h, h, x.device())?, None)?;
    Ok(low.reshape((n, c, w, h))?.transpose(2, 3)?.contiguous()?)
}

/// `[to, from]`: the weight of each row in the mean of each window.
fn windows(from: usize, to: usize, device: &Device) -> Result<Tensor> {
    let mut weights = vec![0.0_f32; from * to];
    for (i, row) in weights.chunks_exact_mut(from.max(1)).enumerate() {
        let window = i * from / to..((i + 1) * from).div_ceil(to);
        let share = 1.0 / window.len() as f32;
        row[window].fill(share);
    }
    Ok(Tensor::from_vec(weights, (to, from), device)?)
}
