// The native half of dev.hipflask.Model: a model and its session over hipflask's C interface.
//
// Java checks what it gives (open, direct buffers, their sizes), so that each call here is short.

#include <jni.h>

#include <new>

#include "hipflask.h"

namespace {

// What a Java object holds; its pointer is the object's `handle`.
struct Handle {
  HipflaskModel *model = nullptr;
  HipflaskSession *session = nullptr;
  HipflaskPort input = {};
  HipflaskPort output = {};

  ~Handle() {
    hipflask_session_free(session);
    hipflask_model_free(model);
  }
};

Handle *handle_of(jlong handle) { return reinterpret_cast<Handle *>(handle); }

void raise(JNIEnv *env, const char *message) {
  jclass type = env->FindClass("dev/hipflask/HipflaskException");
  // Without the class an exception that says so is under way.
  if (type != nullptr) env->ThrowNew(type, message);
}

// Whether the call went well; else hipflask's own sentence is thrown.
bool done(JNIEnv *env, HipflaskStatus status) {
  if (status == HIPFLASK_STATUS_OK) return true;
  raise(env, hipflask_error());
  return false;
}

// Plans the model in `handle`, which is Java's from now on; 0 and an exception where that fails.
jlong planned(JNIEnv *env, Handle *handle, jint threads) {
  HipflaskOptions options = {};
  options.threads = threads > 0 ? static_cast<size_t>(threads) : 0;
  bool ready = done(env, hipflask_session_new(handle->model, &options, &handle->session)) &&
               done(env, hipflask_session_input(handle->session, 0, &handle->input)) &&
               done(env, hipflask_session_output_port(handle->session, 0, &handle->output));
  if (ready && (hipflask_session_inputs(handle->session) != 1 ||
                hipflask_session_outputs(handle->session) != 1 ||
                handle->input.element != HIPFLASK_TYPE_F32 ||
                handle->output.element != HIPFLASK_TYPE_F32)) {
    raise(env, "this class runs models of one float input and one float output; for others use the C interface");
    ready = false;
  }
  if (ready) return reinterpret_cast<jlong>(handle);
  delete handle;
  return 0;
}

jintArray shape(JNIEnv *env, const HipflaskPort &port) {
  jintArray sizes = env->NewIntArray(static_cast<jsize>(port.rank));
  for (size_t i = 0; sizes != nullptr && i < port.rank; i++) {
    jint size = static_cast<jint>(port.shape[i]);
    env->SetIntArrayRegion(sizes, static_cast<jsize>(i), 1, &size);
  }
  return sizes;
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_dev_hipflask_Model_open(JNIEnv *env, jclass, jstring path, jint threads) {
  Handle *handle = new (std::nothrow) Handle;
  const char *text = handle != nullptr ? env->GetStringUTFChars(path, nullptr) : nullptr;
  if (text == nullptr) {
    delete handle;
    return 0;
  }
  HipflaskStatus status = hipflask_model_open(text, &handle->model);
  env->ReleaseStringUTFChars(path, text);
  if (done(env, status)) return planned(env, handle, threads);
  delete handle;
  return 0;
}

JNIEXPORT jlong JNICALL Java_dev_hipflask_Model_read(JNIEnv *env, jclass, jbyteArray bytes, jint threads) {
  Handle *handle = new (std::nothrow) Handle;
  jbyte *data = handle != nullptr ? env->GetByteArrayElements(bytes, nullptr) : nullptr;
  if (data == nullptr) {
    delete handle;
    return 0;
  }
  HipflaskStatus status = hipflask_model_from_bytes(
      reinterpret_cast<const uint8_t *>(data), static_cast<size_t>(env->GetArrayLength(bytes)), &handle->model);
  env->ReleaseByteArrayElements(bytes, data, JNI_ABORT);
  if (done(env, status)) return planned(env, handle, threads);
  delete handle;
  return 0;
}

JNIEXPORT void JNICALL Java_dev_hipflask_Model_free(JNIEnv *, jclass, jlong handle) { delete handle_of(handle); }

JNIEXPORT jintArray JNICALL Java_dev_hipflask_Model_inputShape(JNIEnv *env, jclass, jlong handle) {
  return shape(env, handle_of(handle)->input);
}

JNIEXPORT jintArray JNICALL Java_dev_hipflask_Model_outputShape(JNIEnv *env, jclass, jlong handle) {
  return shape(env, handle_of(handle)->output);
}

JNIEXPORT jobjectArray JNICALL Java_dev_hipflask_Model_labels(JNIEnv *env, jclass, jlong handle) {
  const HipflaskModel *model = handle_of(handle)->model;
  jclass type = env->FindClass("java/lang/String");
  if (type == nullptr) return nullptr;
  size_t count = hipflask_model_labels(model);
  jobjectArray labels = env->NewObjectArray(static_cast<jsize>(count), type, nullptr);
  for (size_t i = 0; labels != nullptr && i < count; i++) {
    jstring label = env->NewStringUTF(hipflask_model_label(model, i));
    if (label == nullptr) return nullptr;
    env->SetObjectArrayElement(labels, static_cast<jsize>(i), label);
    env->DeleteLocalRef(label);
  }
  return labels;
}

// Reads the input where it lies; the answer is copied into `output`.
JNIEXPORT void JNICALL Java_dev_hipflask_Model_infer(JNIEnv *env, jclass, jlong handle, jobject input,
                                                     jint input_at, jobject output, jint output_at) {
  Handle *model = handle_of(handle);
  const float *from = static_cast<const float *>(env->GetDirectBufferAddress(input));
  float *to = static_cast<float *>(env->GetDirectBufferAddress(output));
  if (from == nullptr || to == nullptr) return raise(env, "this virtual machine gives no address of direct buffers");
  const void *inputs[] = {from + input_at};
  if (!done(env, hipflask_session_run(model->session, inputs))) return;
  const float *scores = static_cast<const float *>(hipflask_session_output(model->session, 0));
  for (size_t i = 0; i < model->output.elements; i++) to[static_cast<size_t>(output_at) + i] = scores[i];
}

}  // extern "C"
