/* Classifies one raw sample: predict MODEL SAMPLE [CLASSES], the sample as float32 in the model's
 * order of dimensions, the most likely classes first.
 *
 *   cargo build --release -p hipflask-capi
 *   cc -Iruntime/capi/include runtime/capi/examples/predict.c target/release/libhipflask_c.a -lm -lpthread -ldl
 */
#include <stdio.h>
#include <stdlib.h>

#include "hipflask.h"

static int fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, hipflask_error());
  return 2;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: predict MODEL SAMPLE [CLASSES]\n");
    return 2;
  }
  HipflaskModel *model = NULL;
  if (hipflask_model_open(argv[1], &model) != HIPFLASK_STATUS_OK) return fail("model");

  /* All values of an inference lie in memory of our own. */
  HipflaskOptions options = {0};
  if (hipflask_memory_bytes(model, &options, &options.memory_bytes) != HIPFLASK_STATUS_OK)
    return fail("memory");
  options.memory = malloc(options.memory_bytes);
  HipflaskSession *session = NULL;
  if (hipflask_session_new(model, &options, &session) != HIPFLASK_STATUS_OK) return fail("session");

  HipflaskPort input, output;
  if (hipflask_session_input(session, 0, &input) != HIPFLASK_STATUS_OK) return fail("input");
  if (hipflask_session_output_port(session, 0, &output) != HIPFLASK_STATUS_OK) return fail("output");
  if (input.element != HIPFLASK_TYPE_F32 || output.element != HIPFLASK_TYPE_F32) {
    fprintf(stderr, "model: inputs and outputs are expected to be float\n");
    return 2;
  }
  printf("%s:", input.name);
  for (size_t i = 0; i < input.rank; i++) printf(" %zu", input.shape[i]);
  printf("\n");

  float *sample = malloc(input.elements * sizeof *sample);
  FILE *file = fopen(argv[2], "rb");
  if (!file || fread(sample, sizeof *sample, input.elements, file) != input.elements) {
    fprintf(stderr, "%s: has not %zu floats\n", argv[2], input.elements);
    return 2;
  }
  fclose(file);

  const void *inputs[] = {sample};
  if (hipflask_session_run(session, inputs) != HIPFLASK_STATUS_OK) return fail("run");
  const float *scores = hipflask_session_output(session, 0);
  size_t classes = argc > 3 ? strtoul(argv[3], NULL, 10) : 3;
  if (classes > output.elements) classes = output.elements;
  char *taken = calloc(output.elements, 1);
  for (size_t k = 0; k < classes; k++) {
    size_t best = output.elements;
    for (size_t i = 0; i < output.elements; i++)
      if (!taken[i] && (best == output.elements || scores[i] > scores[best])) best = i;
    taken[best] = 1;
    const char *label = hipflask_model_label(model, best);
    /* %a loses no bit. */
    printf("%zu %s %a\n", best, label ? label : "-", scores[best]);
  }

  free(taken);
  free(sample);
  hipflask_session_free(session);
  hipflask_model_free(model);
  free(options.memory);
  return 0;
}
