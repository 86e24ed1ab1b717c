# For the verbs that need more than the usual toolchain. VERB is the one that runs.

# What is missing, in one line; exit code 2.
missing() {
    echo "make $VERB: missing: $*" >&2
    exit 2
}

# Through rustup, where it is there. need_toolchain NAME
need_toolchain() {
    command -v rustup >/dev/null || missing "rustup, to have Rust $1"
    if ! rustup run "$1" rustc --version >/dev/null 2>&1; then
        echo "installing Rust $1"
        rustup -q toolchain install "$1" --profile minimal --no-self-update ||
            missing "Rust $1: rustup toolchain install $1"
    fi
}

# need_target TOOLCHAIN TARGET ...
need_target() {
    local toolchain=$1 libs target
    shift
    libs=$(rustc ${toolchain:++$toolchain} --print sysroot)/lib/rustlib
    for target; do
        if ! [ -d "$libs/$target/lib" ]; then
            command -v rustup >/dev/null || missing "rustup, to have the target $target"
            echo "installing the target $target"
            rustup -q target add "$target" ${toolchain:+--toolchain "$toolchain"} ||
                missing "the target $target: rustup target add $target"
        fi
    done
}

# need_component TOOLCHAIN COMPONENT ...
need_component() {
    local toolchain=$1 component
    shift
    for component; do
        if ! rustup component list --toolchain "$toolchain" --installed | grep -q "^$component"; then
            echo "installing $component of Rust $toolchain"
            rustup -q component add "$component" --toolchain "$toolchain" ||
                missing "$component: rustup component add $component --toolchain $toolchain"
        fi
    done
}
