package dev.hipflask;

/** What went wrong, where, and what to do: the runtime's own sentence. */
public final class HipflaskException extends RuntimeException {
    private static final long serialVersionUID = 1;

    HipflaskException(String message) {
        super(message);
    }
}
