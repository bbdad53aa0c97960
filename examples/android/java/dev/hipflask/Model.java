package dev.hipflask;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * A student with one float input and one float output, ready to run.
 *
 * <p>Used by one thread at a time: its methods are synchronized, so that others wait. Close it when it is no longer
 * used; a closed model throws {@link IllegalStateException}.
 */
public final class Model implements AutoCloseable {
    static {
        System.loadLibrary("hipflask_jni");
    }

    private long handle;
    private final int[] inputShape;
    private final int[] outputShape;
    private final String[] labels;
    /** Buffers of {@link #run(float[])}. */
    private final FloatBuffer input;
    private final FloatBuffer output;

    /**
     * Opens a model file, which is mapped into memory; copy an asset into {@code getFilesDir()} first, or give its bytes to
     * {@link #of}. So many {@code threads} share an inference.
     *
     * @throws HipflaskException where the file cannot be read or is no model
     */
    public Model(String path, int threads) {
        this(open(path, threads));
    }

    private Model(long handle) {
        this.handle = handle;
        inputShape = inputShape(handle);
        outputShape = outputShape(handle);
        labels = labels(handle);
        input = floats(elements(inputShape));
        output = floats(elements(outputShape));
    }

    /** A model from a copy of the bytes of its file. */
    public static Model of(byte[] bytes, int threads) {
        return new Model(read(bytes, threads));
    }

    /** The input's sizes, the first being the batch, 1: images are {@code [1, h, w, c]}. */
    public int[] inputShape() {
        return inputShape.clone();
    }

    /** The output's sizes. */
    public int[] outputShape() {
        return outputShape.clone();
    }

    /** Names of the classes in the order of the scores; none where the model has none. */
    public String[] labels() {
        return labels.clone();
    }

    /** The scores for an input. */
    public synchronized float[] run(float[] values) {
        input.clear();
        if (values.length != input.capacity()) {
            throw wrongSize("input", values.length, input.capacity());
        }
        input.put(values).flip();
        output.clear();
        run(input, output);
        float[] scores = new float[output.capacity()];
        output.get(scores);
        return scores;
    }

    /**
     * As {@link #run(float[])}, without copying the input and without allocating: between position and limit the buffers
     * hold exactly the input and have room for exactly the output. They are direct and in the machine's byte order, as
     * {@link #floats} makes them; their positions stay.
     */
    public synchronized void run(FloatBuffer input, FloatBuffer output) {
        if (handle == 0) {
            throw new IllegalStateException("the model is closed");
        }
        check("input", input, this.input.capacity());
        check("output", output, this.output.capacity());
        if (output.isReadOnly()) {
            throw new IllegalArgumentException("output: is read-only");
        }
        infer(handle, input, input.position(), output, output.position());
    }

    /** A direct buffer of so many floats in the machine's byte order. */
    public static FloatBuffer floats(int count) {
        return ByteBuffer.allocateDirect(4 * count).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    /** Gives the memory back; a second time does nothing. */
    @Override
    public synchronized void close() {
        long given = handle;
        handle = 0;
        if (given != 0) {
            free(given);
        }
    }

    private static void check(String name, FloatBuffer buffer, int wanted) {
        if (!buffer.isDirect() || buffer.order() != ByteOrder.nativeOrder()) {
            throw new IllegalArgumentException(
                    name + ": is no direct buffer in the machine's byte order, as Model.floats makes them");
        }
        if (buffer.remaining() != wanted) {
            throw wrongSize(name, buffer.remaining(), wanted);
        }
    }

    private static IllegalArgumentException wrongSize(String name, int given, int wanted) {
        return new IllegalArgumentException(name + ": has " + given + " floats, the model takes " + wanted);
    }

    private static int elements(int[] shape) {
        int count = 1;
        for (int size : shape) {
            count *= size;
        }
        return count;
    }

    private static native long open(String path, int threads);

    private static native long read(byte[] bytes, int threads);

    private static native void free(long handle);

    private static native int[] inputShape(long handle);

    private static native int[] outputShape(long handle);

    private static native String[] labels(long handle);

    private static native void infer(long handle, FloatBuffer input, int inputAt, FloatBuffer output, int outputAt);
}
