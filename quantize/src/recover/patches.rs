//! What a layer multiplies its weights by: the patches of its input, one an output position.

use hipflask_runtime::graph::{Graph, Node, Op};

/// How the patches of one layer are read from its input, in the device's layout.
///
/// A patch has the elements of a row of weights in their order, `[kh, kw, i / groups]` or `[i]`; what
/// lies in the padding is 0. Each group of a convolution has patches of its own.
pub(crate) struct Patches {
    /// Elements of a patch.
    pub(crate) len: usize,
    /// Groups of output channels, one patch each.
    pub(crate) groups: usize,
    /// Output positions of one sample.
    pub(crate) positions: usize,
    window: Option<Window>,
}

/// A convolution's.
struct Window {
    input: [usize; 3],
    kernel: [usize; 2],
    out_width: usize,
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
}

impl Patches {
    /// Those of `node`, a convolution or linear layer of `graph`; `None` for other operations.
    pub(crate) fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let x = &graph.value(node.inputs[0]).shape;
        match &node.op {
            Op::Linear => {
                let len = *x.last()?;
                let positions = x.elements() / len.max(1);
                Some(Self { len, groups: 1, positions, window: None })
            }
            Op::Conv2d { stride, padding, dilation, groups } => {
                let weight = graph.weight(node, "weight")?.shape().dims::<4>()?;
                let [_, kh, kw, channels] = weight;
                let input = graph.layout.image(x)?;
                let [out_height, out_width, _] =
                    graph.layout.image(&graph.value(node.output).shape)?;
                Some(Self {
                    len: kh * kw * channels,
                    groups: *groups,
                    positions: out_height * out_width,
                    window: Some(Window {
                        input,
                        kernel: [kh, kw],
                        out_width,
                        stride: *stride,
                        padding: *padding,
                        dilation: *dilation,
                    }),
                })
            }
            _ => None,
        }
    }

    /// Writes the patch of `group` at output `position` of the sample `x`, `[h, w, c]` or `[t, i]`.
    pub(crate) fn read(&self, x: &[f32], position: usize, group: usize, patch: &mut [f32]) {
        let Some(Window { input: [h, w, c], kernel, out_width, stride, padding, dilation }) =
            &self.window
        else {
            patch.copy_from_slice(&x[position * self.len..][..self.len]);
            return;
        };
        let per_group = c / self.groups;
        let (row, column) = (position / out_width, position % out_width);
        for (tap, part) in patch.chunks_mut(per_group).enumerate() {
            let (ky, kx) = (tap / kernel[1], tap % kernel[1]);
            let y = (row * stride[0] + ky * dilation[0]).checked_sub(padding[0]);
            let z = (column * stride[1] + kx * dilation[1]).checked_sub(padding[1]);
            match (y.filter(|y| y < h), z.filter(|z| z < w)) {
                (Some(y), Some(z)) => {
                    let start = (y * w + z) * c + group * per_group;
                    part.copy_from_slice(&x[start..][..per_group]);
                }
                _ => part.fill(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use hipflask_runtime::graph::{GraphBuilder, Layout};
    use hipflask_runtime::{Model, Options, Session, Tensor};

    /// Against the runtime's own convolution.
    #[test]
    fn weights_times_patches_are_the_layers_output() {
        let value = |i: usize| (i * 7 % 23) as f32 - 11.0;
        for (stride, padding, dilation, groups) in [
            ([1, 1], [1; 4], [1, 1], 1),
            ([2, 1], [2, 0, 1, 1], [1, 2], 2),
            ([1, 2], [0; 4], [2, 1], 4),
        ] {
            let (h, w, c, o) = (7, 6, 4, 8);
            let mut b = GraphBuilder::new("conv", Layout::Nhwc);
            let x = b.input("x", [1, h, w, c]);
            let shape = [o, 3, 2, c / groups];
            let weights: Vec<f32> = (0..shape.iter().product()).map(|i| value(i * i + 3)).collect();
            let op = Op::Conv2d { stride, padding, dilation, groups };
            let weight = [("weight", Tensor::from_f32(shape, &weights))];
            let y = b.node("conv", op, &[x], weight).unwrap();
            let graph = b.finish(&[y]).unwrap();
            let input: Vec<f32> = (0..h * w * c).map(value).collect();
            let model = Model::from_graph(graph.clone()).unwrap();
            let mut session = Session::new(&model, &Options::default()).unwrap();
            let wanted = session.predict(&input).unwrap();
            let patches = Patches::of(&graph, &graph.nodes[0]).unwrap();
            let mut patch = vec![0.0; patches.len];
            let mut found = vec![0.0; wanted.len()];
            for position in 0..patches.positions {
                for channel in 0..o {
                    patches.read(&input, position, channel / (o / groups), &mut patch);
                    let row = &weights[channel * patches.len..][..patches.len];
                    found[position * o + channel] =
                        row.iter().zip(&patch).map(|(w, x)| w * x).sum();
                }
            }
            // Whole numbers: every sum is exact.
            assert_eq!(found, wanted);
        }
    }
}
