//! Sessions: planned once, then run without allocating.
#![allow(unsafe_code, reason = "pointers come from C; each function says what they must be")]

use std::ffi::{CString, c_char, c_void};

use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{DType, Error, View};

use crate::model::{Model, give, text};
use crate::status::{Status, call, input};

/// Element type of an input or output.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `float`
    F32 = 0,
    /// `int8_t`
    I8 = 1,
}

/// How a session computes; all zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Options {
    /// Threads that share an inference, the caller's with them; 0 is 1.
    pub threads: usize,
    /// Name of an instruction set as `hipflask-run info` prints it; null takes the fastest, or what
    /// the environment variable `HIPFLASK_ISA` says.
    pub isa: *const c_char,
    /// Memory for all values of an inference, which the session alone uses until it is given back;
    /// null lets the library allocate it.
    pub memory: *mut c_void,
    /// Bytes of it: `hipflask_memory_bytes` says how many are needed.
    pub memory_bytes: usize,
}

/// An input or an output. Name and shape are valid as long as the session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Port {
    /// Its name in UTF-8.
    pub name: *const c_char,
    /// Type of its elements.
    pub element: Type,
    /// Sizes of its dimensions, of which the first is the batch, 1; images are `[1, h, w, c]`.
    pub shape: *const usize,
    /// How many dimensions.
    pub rank: usize,
    /// How many elements.
    pub elements: usize,
}

/// A planned model with its memory, for one thread at a time.
pub struct Session {
    inner: hipflask_runtime::Session,
    inputs: Vec<(CString, hipflask_runtime::Port)>,
    outputs: Vec<(CString, hipflask_runtime::Port)>,
}

/// Plans a model: chooses kernels, packs weights, starts threads. `options` may be null.
///
/// # Safety
///
/// `model` came from this library; `options` is null or may be read, and its memory is the session's
/// until `hipflask_session_free`; `session` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_new(
    model: *const Model,
    options: *const Options,
    session: *mut *mut Session,
) -> Status {
    call(|| {
        // SAFETY: the caller's promise about `model` and `options`.
        let (model, options) = unsafe { read(model, options) }?;
        let planned = match options.memory {
            memory if memory.is_null() => hipflask_runtime::Session::new(model, &options.inner)?,
            memory => {
                // SAFETY: the caller lends it for as long as the session lives.
                let memory = unsafe {
                    std::slice::from_raw_parts_mut(memory.cast::<u8>(), options.memory_bytes)
                };
                hipflask_runtime::Session::new_in(model, &options.inner, memory)?
            }
        };
        let named = |ports: &[hipflask_runtime::Port]| {
            let name = |port: &hipflask_runtime::Port| {
                (CString::new(port.name.replace('\0', "?")).unwrap_or_default(), port.clone())
            };
            ports.iter().map(name).collect()
        };
        let (inputs, outputs) = (named(planned.inputs()), named(planned.outputs()));
        // SAFETY: the caller's promise about `session`.
        unsafe { give("session", session, Session { inner: planned, inputs, outputs }) }
    })
}

/// How many bytes of memory a session of `model` needs with these options, wherever they begin.
///
/// # Safety
///
/// `model` came from this library; `options` is null or may be read; `bytes` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_memory_bytes(
    model: *const Model,
    options: *const Options,
    bytes: *mut usize,
) -> Status {
    call(|| {
        // SAFETY: the caller's promise about `model` and `options`.
        let (model, options) = unsafe { read(model, options) }?;
        let needed = hipflask_runtime::Session::new(model, &options.inner)?.memory_bytes();
        // SAFETY: the caller's promise about `bytes`.
        let bytes = unsafe { bytes.as_mut() };
        *bytes.ok_or_else(|| input("bytes", "is a null pointer"))? = needed;
        Ok(())
    })
}

/// Gives a session back, and the memory that was lent to it; null is nothing.
///
/// # Safety
///
/// `session` came from this library and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_free(session: *mut Session) {
    if !session.is_null() {
        // SAFETY: the caller's promise: made by `give`, given back once.
        drop(unsafe { Box::from_raw(session) });
    }
}

/// How many inputs there are.
///
/// # Safety
///
/// `session` came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_inputs(session: *const Session) -> usize {
    // SAFETY: the caller's promise.
    unsafe { session.as_ref() }.map_or(0, |session| session.inputs.len())
}

/// How many outputs there are.
///
/// # Safety
///
/// `session` came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_outputs(session: *const Session) -> usize {
    // SAFETY: the caller's promise.
    unsafe { session.as_ref() }.map_or(0, |session| session.outputs.len())
}

/// Describes an input.
///
/// # Safety
///
/// `session` came from this library, and `port` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_input(
    session: *const Session,
    index: usize,
    port: *mut Port,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { describe("input", session, |session| &session.inputs, (index, port)) }
}

/// Describes an output.
///
/// # Safety
///
/// `session` came from this library, and `port` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_output_port(
    session: *const Session,
    index: usize,
    port: *mut Port,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { describe("output", session, |session| &session.outputs, (index, port)) }
}

/// Runs one inference without allocating: as many inputs as the session has, each with all elements
/// of its type, aligned as that type is.
///
/// # Safety
///
/// `session` came from this library and no other thread uses it; `inputs` are as many pointers as
/// there are inputs, to as many elements as these have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_run(
    session: *mut Session,
    inputs: *const *const c_void,
) -> Status {
    call(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { session.as_mut() };
        let session = session.ok_or_else(|| input("session", "is a null pointer"))?;
        if inputs.is_null() {
            return Err(input("inputs", "is a null pointer"));
        }
        // SAFETY: the caller's promise about `inputs`.
        let pointers = unsafe { std::slice::from_raw_parts(inputs, session.inputs.len()) };
        let mut views = [View::F32(&[]); MOST_INPUTS];
        if pointers.len() > MOST_INPUTS {
            return Err(input("inputs", format!("more than {MOST_INPUTS}")));
        }
        for ((view, (_, port)), &pointer) in views.iter_mut().zip(&session.inputs).zip(pointers) {
            let elements = port.shape.elements();
            // SAFETY: the caller's promise about each pointer.
            *view = unsafe { elements_at(pointer, port.dtype, elements) }
                .ok_or_else(|| input("inputs", "a pointer is null or not aligned"))?;
        }
        session.inner.run(&views[..pointers.len()])
    })
}

/// Where an output of the last inference lies; `data` is valid until the next one, as many elements
/// as `hipflask_session_output_port` says. Null where there is no such output.
///
/// # Safety
///
/// `session` came from this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hipflask_session_output(
    session: *const Session,
    index: usize,
) -> *const c_void {
    // SAFETY: the caller's promise.
    let session = unsafe { session.as_ref() };
    match session.filter(|session| index < session.outputs.len()) {
        Some(session) => session.inner.output(index).bytes().as_ptr().cast(),
        None => std::ptr::null(),
    }
}

/// Views of inputs lie on the stack.
const MOST_INPUTS: usize = 16;

/// Options in the runtime's terms.
struct Given {
    inner: hipflask_runtime::Options,
    memory: *mut c_void,
    memory_bytes: usize,
}

/// # Safety
///
/// As [`hipflask_session_new`] says.
unsafe fn read<'a>(
    model: *const Model,
    options: *const Options,
) -> Result<(&'a hipflask_runtime::Model, Given), Error> {
    // SAFETY: the caller's promise.
    let model = unsafe { model.as_ref() }.ok_or_else(|| input("model", "is a null pointer"))?;
    let mut inner = hipflask_runtime::Options::default();
    let mut given = Given { inner, memory: std::ptr::null_mut(), memory_bytes: 0 };
    // SAFETY: the caller's promise.
    if let Some(options) = unsafe { options.as_ref() } {
        inner.threads = options.threads.max(1);
        if !options.isa.is_null() {
            // SAFETY: a string that ends with a zero byte, as the caller promised.
            let name = unsafe { text(options.isa) }.unwrap_or_default();
            inner.isa = Some(Isa::choose("isa", name)?);
        }
        (given.memory, given.memory_bytes) = (options.memory, options.memory_bytes);
    }
    given.inner = inner;
    Ok((&model.inner, given))
}

type Ports = [(CString, hipflask_runtime::Port)];

/// # Safety
///
/// `session` is null or came from this library; `port` is null or may be written.
unsafe fn describe(
    what: &str,
    session: *const Session,
    ports: fn(&Session) -> &Ports,
    (index, port): (usize, *mut Port),
) -> Status {
    call(|| {
        // SAFETY: the caller's promise.
        let ports = unsafe { session.as_ref() }.map_or(&[][..], ports);
        let (name, found) = ports
            .get(index)
            .ok_or_else(|| input(what, format!("{index} of {}: there is none", ports.len())))?;
        // SAFETY: the caller's promise.
        let port = unsafe { port.as_mut() }.ok_or_else(|| input("port", "is a null pointer"))?;
        *port = Port {
            name: name.as_ptr(),
            element: if found.dtype == DType::I8 { Type::I8 } else { Type::F32 },
            shape: found.shape.as_ptr(),
            rank: found.shape.len(),
            elements: found.shape.elements(),
        };
        Ok(())
    })
}

/// # Safety
///
/// `pointer` is null or leads to so many elements.
unsafe fn elements_at<'a>(
    pointer: *const c_void,
    dtype: DType,
    elements: usize,
) -> Option<View<'a>> {
    if pointer.is_null() {
        return None;
    }
    if dtype == DType::I8 {
        // SAFETY: the caller's promise; bytes need no alignment.
        return Some(View::I8(unsafe { std::slice::from_raw_parts(pointer.cast(), elements) }));
    }
    let pointer = pointer.cast::<f32>();
    // SAFETY: the caller's promise, and the alignment was looked at.
    pointer
        .is_aligned()
        .then(|| View::F32(unsafe { std::slice::from_raw_parts(pointer, elements) }))
}
