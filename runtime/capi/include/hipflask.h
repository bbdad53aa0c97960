/* The C interface of hipflask's runtime. Made from runtime/capi/src by its test header.rs: do not edit. */

#ifndef HIPFLASK_H
#define HIPFLASK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/**
 * What a call came to. For all but `Ok`, `hipflask_error` has the sentence.
 */
typedef enum {
  /**
   * Done.
   */
  HIPFLASK_STATUS_OK = 0,
  /**
   * A file could not be read.
   */
  HIPFLASK_STATUS_IO = 1,
  /**
   * The bytes are no valid model file.
   */
  HIPFLASK_STATUS_FORMAT = 2,
  /**
   * The file is valid but newer than this library.
   */
  HIPFLASK_STATUS_VERSION = 3,
  /**
   * The graph contradicts itself.
   */
  HIPFLASK_STATUS_GRAPH = 4,
  /**
   * Something in the model is valid but this build cannot run it.
   */
  HIPFLASK_STATUS_UNSUPPORTED = 5,
  /**
   * A size is beyond the limits.
   */
  HIPFLASK_STATUS_LIMIT = 6,
  /**
   * An argument does not fit: a null pointer, a wrong length, an unknown name, too little memory.
   */
  HIPFLASK_STATUS_INPUT = 7,
  /**
   * A fault of the library: please report it.
   */
  HIPFLASK_STATUS_INTERNAL = 8,
} HipflaskStatus;

/**
 * Element type of an input or output.
 */
typedef enum {
  /**
   * `float`
   */
  HIPFLASK_TYPE_F32 = 0,
  /**
   * `int8_t`
   */
  HIPFLASK_TYPE_I8 = 1,
} HipflaskType;

/**
 * A model that was validated. Any number of threads may use it at the same time.
 */
typedef struct HipflaskModel HipflaskModel;

/**
 * A planned model with its memory, for one thread at a time.
 */
typedef struct HipflaskSession HipflaskSession;

/**
 * How a session computes; all zeros are the defaults.
 */
typedef struct {
  /**
   * Threads that share an inference, the caller's with them; 0 is 1.
   */
  size_t threads;
  /**
   * Name of an instruction set as `hipflask-run info` prints it; null takes the fastest, or what
   * the environment variable `HIPFLASK_ISA` says.
   */
  const char *isa;
  /**
   * Memory for all values of an inference, which the session alone uses until it is given back;
   * null lets the library allocate it.
   */
  void *memory;
  /**
   * Bytes of it: `hipflask_memory_bytes` says how many are needed.
   */
  size_t memory_bytes;
} HipflaskOptions;

/**
 * An input or an output. Name and shape are valid as long as the session.
 */
typedef struct {
  /**
   * Its name in UTF-8.
   */
  const char *name;
  /**
   * Type of its elements.
   */
  HipflaskType element;
  /**
   * Sizes of its dimensions, of which the first is the batch, 1; images are `[1, h, w, c]`.
   */
  const size_t *shape;
  /**
   * How many dimensions.
   */
  size_t rank;
  /**
   * How many elements.
   */
  size_t elements;
} HipflaskPort;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Opens a model file, which is mapped into memory and must not change while the model is used.
 *
 * # Safety
 *
 * `path` is a string that ends with a zero byte, and `model` may be written.
 */
HipflaskStatus hipflask_model_open(const char *path, HipflaskModel **model);

/**
 * Reads a model from a copy of `bytes`.
 *
 * # Safety
 *
 * `bytes` are `len` that may be read, and `model` may be written.
 */
HipflaskStatus hipflask_model_from_bytes(const uint8_t *bytes, size_t len, HipflaskModel **model);

/**
 * Gives a model back; null is nothing. Sessions made of it go on.
 *
 * # Safety
 *
 * `model` came from this library and is not used any more.
 */
void hipflask_model_free(HipflaskModel *model);

/**
 * How many class names the model has.
 *
 * # Safety
 *
 * `model` came from this library.
 */
size_t hipflask_model_labels(const HipflaskModel *model);

/**
 * A class name in UTF-8; null where there is none. Valid as long as the model.
 *
 * # Safety
 *
 * `model` came from this library.
 */
const char *hipflask_model_label(const HipflaskModel *model, size_t index);

/**
 * Plans a model: chooses kernels, packs weights, starts threads. `options` may be null.
 *
 * # Safety
 *
 * `model` came from this library; `options` is null or may be read, and its memory is the session's
 * until `hipflask_session_free`; `session` may be written.
 */
HipflaskStatus hipflask_session_new(const HipflaskModel *model,
                                    const HipflaskOptions *options,
                                    HipflaskSession **session);

/**
 * How many bytes of memory a session of `model` needs with these options, wherever they begin.
 *
 * # Safety
 *
 * `model` came from this library; `options` is null or may be read; `bytes` may be written.
 */
HipflaskStatus hipflask_memory_bytes(const HipflaskModel *model,
                                     const HipflaskOptions *options,
                                     size_t *bytes);

/**
 * Gives a session back, and the memory that was lent to it; null is nothing.
 *
 * # Safety
 *
 * `session` came from this library and is not used any more.
 */
void hipflask_session_free(HipflaskSession *session);

/**
 * How many inputs there are.
 *
 * # Safety
 *
 * `session` came from this library.
 */
size_t hipflask_session_inputs(const HipflaskSession *session);

/**
 * How many outputs there are.
 *
 * # Safety
 *
 * `session` came from this library.
 */
size_t hipflask_session_outputs(const HipflaskSession *session);

/**
 * Describes an input.
 *
 * # Safety
 *
 * `session` came from this library, and `port` may be written.
 */
HipflaskStatus hipflask_session_input(const HipflaskSession *session,
                                      size_t index,
                                      HipflaskPort *port);

/**
 * Describes an output.
 *
 * # Safety
 *
 * `session` came from this library, and `port` may be written.
 */
HipflaskStatus hipflask_session_output_port(const HipflaskSession *session,
                                            size_t index,
                                            HipflaskPort *port);

/**
 * Runs one inference without allocating: as many inputs as the session has, each with all elements
 * of its type, aligned as that type is.
 *
 * # Safety
 *
 * `session` came from this library and no other thread uses it; `inputs` are as many pointers as
 * there are inputs, to as many elements as these have.
 */
HipflaskStatus hipflask_session_run(HipflaskSession *session, const void *const *inputs);

/**
 * Where an output of the last inference lies; `data` is valid until the next one, as many elements
 * as `hipflask_session_output_port` says. Null where there is no such output.
 *
 * # Safety
 *
 * `session` came from this library.
 */
const void *hipflask_session_output(const HipflaskSession *session, size_t index);

/**
 * What went wrong in the last call of this thread that failed, where, and what to do, in UTF-8; an
 * empty string before the first. Valid until the next call of this thread fails.
 */
const char *hipflask_error(void);

/**
 * The version of this library, as `0.1.0`.
 */
const char *hipflask_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HIPFLASK_H */
