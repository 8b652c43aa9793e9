//! A library that does what `STRESS_LOAD` says when it is opened: `exit`, `abort` or `hang`.

extern "C" fn on_load() {
    match std::env::var("STRESS_LOAD").as_deref() {
        Ok("exit") => std::process::exit(0),
        Ok("abort") => std::process::abort(),
        Ok("hang") => loop {
            std::thread::park();
        },
        _ => {}
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;
