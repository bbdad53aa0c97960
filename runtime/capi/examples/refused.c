/* What is refused says so, and nothing crashes: refused MODEL. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hipflask.h"

#define REFUSED(call, status, text)                           \
  do {                                                        \
    HipflaskStatus found = (call);                            \
    if (found != (status) || !strstr(hipflask_error(), text)) { \
      printf("%s: %d, %s\n", #call, found, hipflask_error()); \
      return 1;                                               \
    }                                                         \
  } while (0)

int main(int argc, char **argv) {
  if (argc != 2 || strlen(hipflask_error()) != 0) return 1;
  HipflaskModel *model = NULL;
  REFUSED(hipflask_model_open(NULL, &model), HIPFLASK_STATUS_INPUT, "path: is no UTF-8 string");
  REFUSED(hipflask_model_open("/nonexistent", &model), HIPFLASK_STATUS_IO, "/nonexistent");
  REFUSED(hipflask_model_open(argv[1], NULL), HIPFLASK_STATUS_INPUT, "model: is a null pointer");
  const uint8_t junk[] = {1, 2, 3};
  REFUSED(hipflask_model_from_bytes(junk, 3, &model), HIPFLASK_STATUS_FORMAT, "too few");
  REFUSED(hipflask_model_from_bytes(NULL, 3, &model), HIPFLASK_STATUS_INPUT, "null pointer");
  if (hipflask_model_open(argv[1], &model) != HIPFLASK_STATUS_OK) return 1;

  HipflaskSession *session = NULL;
  HipflaskOptions options = {0};
  REFUSED(hipflask_session_new(NULL, NULL, &session), HIPFLASK_STATUS_INPUT, "model");
  REFUSED(hipflask_session_new(model, NULL, NULL), HIPFLASK_STATUS_INPUT, "session");
  options.isa = "sse9";
  REFUSED(hipflask_session_new(model, &options, &session), HIPFLASK_STATUS_INPUT, "available here");
  options.isa = NULL;
  options.threads = 1000;
  REFUSED(hipflask_session_new(model, &options, &session), HIPFLASK_STATUS_INPUT, "from 1 to 16");
  options.threads = 0;
  size_t needed = 0;
  if (hipflask_memory_bytes(model, NULL, &needed) != HIPFLASK_STATUS_OK || needed == 0) return 1;
  options.memory = malloc(needed);
  options.memory_bytes = needed - 1;
  REFUSED(hipflask_session_new(model, &options, &session), HIPFLASK_STATUS_INPUT, "bytes; this model");
  options.memory_bytes = needed;
  options.isa = "scalar";
  if (hipflask_session_new(model, &options, &session) != HIPFLASK_STATUS_OK) return 1;

  HipflaskPort port;
  REFUSED(hipflask_session_input(session, 1, &port), HIPFLASK_STATUS_INPUT, "there is none");
  REFUSED(hipflask_session_input(session, 0, NULL), HIPFLASK_STATUS_INPUT, "null pointer");
  if (hipflask_session_input(session, 0, &port) != HIPFLASK_STATUS_OK) return 1;
  float *sample = calloc(port.elements + 1, sizeof *sample);
  const void *misaligned[] = {(char *)sample + 1}, *null[] = {NULL};
  REFUSED(hipflask_session_run(session, misaligned), HIPFLASK_STATUS_INPUT, "not aligned");
  REFUSED(hipflask_session_run(session, null), HIPFLASK_STATUS_INPUT, "null");
  REFUSED(hipflask_session_run(session, NULL), HIPFLASK_STATUS_INPUT, "inputs");
  REFUSED(hipflask_session_run(NULL, null), HIPFLASK_STATUS_INPUT, "session");
  if (hipflask_session_output(session, 7) || hipflask_model_label(model, 1000)) return 1;
  if (hipflask_session_inputs(session) != 1 || hipflask_session_outputs(session) != 1) return 1;
  free(sample);
  hipflask_session_free(session);
  hipflask_session_free(NULL);
  hipflask_model_free(model);
  hipflask_model_free(NULL);
  free(options.memory);
  printf("ok %s\n", hipflask_version());
  return 0;
}
