//! Batch norm with statistics of the batch, fused with a ReLU after it.

use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::launch::{Geometry, Grid, Kernel, chunks};

/// `(y, moments [3, c])` of `x [n, c, …]`; see [`moments_to_statistics`].
pub(in super::super) fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    relu: bool,
) -> Result<(Tensor, Tensor)> {
    let x = x.contiguous()?;
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    let plane = x.elem_count() / (n * c).max(1);
    let mut geometry = Geometry::planes(n, c, plane);
    geometry.epsilon = epsilon as f32;
    geometry.flag = u32::from(relu);
    let op = BatchNorm { n, c, geometry, moments: None };
    let moments = op.sums("bn_sums", "bn_moments", 3, &[&x])?;
    let op = BatchNorm { moments: Some(moments.clone()), ..op };
    Ok((x.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?, moments))
}

/// `(mean, biased variance)`, `[c]` each.
pub(in super::super) fn moments_to_statistics(moments: &Tensor) -> Result<(Tensor, Tensor)> {
    Ok((moments.get(0)?, moments.get(1)?))
}

struct BatchNorm {
    n: usize,
    c: usize,
    geometry: Geometry,
    /// Mean, biased variance and the inverse deviation, `[3, c]`.
    moments: Option<Tensor>,
}

impl BatchNorm {
    /// Two sums a channel by the kernel `over`, then `[rows, c]` of them by `finish`.
    fn sums(
        &self,
        over: &'static str,
        finish: &'static str,
        rows: usize,
        inputs: &[&Tensor],
    ) -> Result<Tensor> {
        let (count, samples) = chunks(self.n, self.c);
        let partial = Kernel {
            name: over,
            grid: Grid::Blocks(self.c, count),
            geometry: Geometry { chunk: samples as u32, ..self.geometry },
            out: (count, self.c, 2).into(),
            wide: true,
        };
        let geometry = Geometry { kernel: [count as u32, 1], ..self.geometry };
        Kernel::new(finish, geometry, (rows, self.c)).run(&[&partial.run(inputs)?])
    }

    fn moments(&self) -> Result<&Tensor> {
        match &self.moments {
            Some(moments) => Ok(moments),
            None => bail!("batch norm has no statistics"),
        }
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch norm"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("this batch norm runs on CUDA only")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        gamma: &CudaStorage,
        gamma_layout: &Layout,
        beta: &CudaStorage,
        beta_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (moments, moments_layout) = self.moments()?.storage_and_layout();
        let Storage::Cuda(moments) = &*moments else { bail!("statistics are not on the GPU") };
        let kernel = Kernel::new("bn_apply", self.geometry, x_layout.shape().clone());
        let inputs =
            [(x, x_layout), (gamma, gamma_layout), (beta, beta_layout), (moments, moments_layout)];
        Ok((kernel.launch(&inputs)?, kernel.out))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _beta: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let moments = self.moments()?;
        let sums = self.sums("bn_grad_sums", "bn_reduce", 2, &[x, y, dy, moments])?;
        let kernel = Kernel::new("bn_grad", self.geometry, x.shape().clone());
        let dx = kernel.run(&[x, y, dy, gamma, moments, &sums])?;
        Ok((Some(dx), Some(sums.get(1)?), Some(sums.get(0)?)))
    }
}
