import dev.hipflask.HipflaskException;
import dev.hipflask.Model;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.util.Arrays;

/**
 * Runs recorded samples on the desk's Java: {@code Check MODEL INPUTS OUTPUTS}, the samples one after another as floats in
 * little endian. Says how many have the recorded bits, and fails where one has not or where a mistake is not refused.
 */
public final class Check {
    public static void main(String[] args) throws IOException {
        float[] inputs = floats(args[1]);
        float[] outputs = floats(args[2]);
        int equal = 0;
        int samples;
        try (Model opened = new Model(args[0], 1);
                Model read = Model.of(Files.readAllBytes(new File(args[0]).toPath()), 2)) {
            int size = elements(opened.inputShape());
            int scores = elements(opened.outputShape());
            samples = inputs.length / size;
            FloatBuffer in = Model.floats(inputs.length);
            in.put(inputs);
            FloatBuffer out = Model.floats(scores + 3);
            for (int i = 0; i < samples; i++) {
                float[] wanted = Arrays.copyOfRange(outputs, i * scores, (i + 1) * scores);
                in.limit((i + 1) * size).position(i * size);
                out.limit(scores + 3).position(3);
                read.run(in, out);
                float[] direct = new float[scores];
                out.get(direct);
                float[] copied = opened.run(Arrays.copyOfRange(inputs, i * size, (i + 1) * size));
                equal += Arrays.equals(copied, wanted) && Arrays.equals(direct, wanted) ? 1 : 0;
            }
            refused(IllegalArgumentException.class, "input: has 1 floats, the model takes " + size,
                    () -> opened.run(new float[1]));
            refused(IllegalArgumentException.class, "input: is no direct buffer",
                    () -> opened.run(FloatBuffer.allocate(size), Model.floats(scores)));
            refused(IllegalArgumentException.class, "output: has 1 floats",
                    () -> opened.run(Model.floats(size), Model.floats(1)));
        }
        Model closed = new Model(args[0], 1);
        closed.close();
        closed.close();
        float[] zeros = new float[elements(closed.inputShape())];
        refused(IllegalStateException.class, "closed", () -> closed.run(zeros));
        refused(HipflaskException.class, "nowhere.safetensors: cannot be read",
                () -> new Model("nowhere.safetensors", 1));
        refused(HipflaskException.class, "threads: 99", () -> new Model(args[0], 99));
        refused(HipflaskException.class, "", () -> Model.of(new byte[] {1, 2, 3}, 1));
        System.out.println(equal + " of " + samples + " samples with equal bits");
        if (equal != samples || samples == 0) {
            System.exit(1);
        }
    }

    private static void refused(Class<? extends Exception> type, String words, Runnable what) {
        try {
            what.run();
        } catch (RuntimeException error) {
            if (type.isInstance(error) && error.getMessage().contains(words)) {
                return;
            }
            throw new AssertionError("expected " + type + " with " + words, error);
        }
        throw new AssertionError("was not refused: " + words);
    }

    private static int elements(int[] shape) {
        return Arrays.stream(shape).reduce(1, Math::multiplyExact);
    }

    private static float[] floats(String file) throws IOException {
        byte[] bytes = Files.readAllBytes(new File(file).toPath());
        float[] values = new float[bytes.length / 4];
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
        return values;
    }
}
