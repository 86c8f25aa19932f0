// nvrtc on the system's C++ compiler: a kernel's source becomes a shared object, kept by the hash of all that
// goes into it in the folder `kernels` beside this library. The "PTX" it gives is that file's name.
// STAND_IN_NVRTC=FILE names NVIDIA's libnvrtc: every source is then also compiled by it to machine code, for
// the capabilities of STAND_IN_NVRTC_FOR (75,80,90), which needs no GPU. What it refuses is refused here; what it
// says of registers and spills is added to the file STAND_IN_NVRTC_REPORT.
// STAND_IN_SANITIZE=1 compiles kernels with the address sanitiser (the process must have it preloaded).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <mutex>
#include <regex>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#define STAND_IN_API extern "C" __attribute__((visibility("default"))) int

namespace {

enum { success = 0, invalid_option = 5, compilation = 6 };

struct Program {
    std::string source, name, log, image;
    std::vector<std::pair<std::string, std::string>> headers;
};

std::string own_folder() {
    Dl_info info;
    dladdr(reinterpret_cast<void *>(&own_folder), &info);
    std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/'));
}

uint64_t hash(const std::string &text) { // FNV-1a
    uint64_t value = 0xcbf29ce484222325;
    for (unsigned char byte : text) value = (value ^ byte) * 0x100000001b3;
    return value;
}

std::string read(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}
void write(const std::string &path, const std::string &text) {
    std::ofstream(path, std::ios::binary) << text;
}
bool exists(const std::string &path) { return access(path.c_str(), R_OK) == 0; }

// Runs a command, gives what it prints to `output`; true if it succeeded.
bool run(const std::string &command, std::string &output) {
    FILE *pipe = popen((command + " 2>&1").c_str(), "r");
    if (!pipe) return false;
    char buffer[4096];
    output.clear();
    while (size_t count = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, count);
    return pclose(pipe) == 0;
}

// Options of nvrtc in the compiler's words; false for one we do not know.
bool translate(const std::string &option, const std::string &value, std::string &flags, bool &contract) {
    if (option == "--gpu-architecture" || option == "-arch") {
        std::string digits;
        for (char c : value) if (isdigit(c)) digits += c;
        flags += " -D__CUDA_ARCH__=" + digits + "0";
    } else if (option == "--fmad" || option == "-fmad") {
        contract = value != "false";
    } else if (option == "--std" || option == "-std") {
        flags += " -std=gnu" + value.substr(1);
    } else if (option == "--define-macro" || option == "-D") {
        flags += " -D'" + value + "'";
    } else if (option == "--use_fast_math" || option == "-use_fast_math") {
        flags += " -D__USE_FAST_MATH__";
    } else {
        // What changes nothing here.
        for (const char *known : {"--ftz", "-ftz", "--prec-sqrt", "-prec-sqrt", "--prec-div", "-prec-div", "--maxrregcount",
                                  "-maxrregcount", "--include-path", "-I", "--generate-line-info", "-lineinfo", "--device-as-default-execution-space",
                                  "-default-device", "--restrict", "-restrict", "--extra-device-vectorization", "--ptxas-options", "-Xptxas", "--split-compile", "--diag-suppress", "--resource-usage"})
            if (option == known) return true;
        return false;
    }
    return true;
}

// Names of the kernels in preprocessed source (where `__global__` and the bounds still stand), with their bounds.
std::string entries(const std::string &source) {
    static const std::regex kernel(
        R"(__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*)?(?:void\s+)?(\w+)\s*\()");
    std::string text;
    for (auto at = std::sregex_iterator(source.begin(), source.end(), kernel); at != std::sregex_iterator(); ++at) {
        std::string bounds = (*at)[1];
        std::string threads = bounds.empty() ? "0" : bounds.substr(0, bounds.find(','));
        text += "STAND_IN_ENTRY(" + std::string((*at)[2]) + ", (" + threads + "))\n";
    }
    return text;
}

// Compiles with NVIDIA's own library; false with its words in the log.
bool compile_for_gpus(Program &program, const std::vector<std::string> &options) {
    const char *file = getenv("STAND_IN_NVRTC");
    if (!file) return true;
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        program.log = dlerror();
        return false;
    }
    auto create = reinterpret_cast<int (*)(void **, const char *, const char *, int, const char *const *, const char *const *)>(
        dlsym(library, "nvrtcCreateProgram"));
    auto compile_program = reinterpret_cast<int (*)(void *, int, const char *const *)>(dlsym(library, "nvrtcCompileProgram"));
    auto log_size = reinterpret_cast<int (*)(void *, size_t *)>(dlsym(library, "nvrtcGetProgramLogSize"));
    auto get_log = reinterpret_cast<int (*)(void *, char *)>(dlsym(library, "nvrtcGetProgramLog"));
    auto destroy = reinterpret_cast<int (*)(void **)>(dlsym(library, "nvrtcDestroyProgram"));
    const char *wanted = getenv("STAND_IN_NVRTC_FOR");
    std::stringstream capabilities(wanted ? wanted : "75,80,90");
    std::string report;
    for (std::string capability; std::getline(capabilities, capability, ',');) {
        std::vector<std::string> all;
        for (auto &option : options)
            if (option.rfind("--gpu-architecture", 0) != 0 && option.rfind("-arch", 0) != 0) all.push_back(option);
        all.push_back("--gpu-architecture=sm_" + capability);
        all.push_back("--ptxas-options=-v");
        std::vector<const char *> words, names, texts;
        for (auto &option : all) words.push_back(option.c_str());
        for (auto &[name, text] : program.headers) names.push_back(name.c_str()), texts.push_back(text.c_str());
        void *handle;
        create(&handle, program.source.c_str(), program.name.c_str(), int(names.size()), texts.data(), names.data());
        const int status = compile_program(handle, int(words.size()), words.data());
        size_t size = 0;
        log_size(handle, &size);
        std::string log(size, ' ');
        get_log(handle, log.data());
        destroy(&handle);
        if (status) {
            program.log = "for sm_" + capability + ": " + log;
            return false;
        }
        report += "== " + program.name + " sm_" + capability + "\n" + log.c_str() + "\n";
    }
    if (const char *to = getenv("STAND_IN_NVRTC_REPORT")) std::ofstream(to, std::ios::app) << report;
    return true;
}

int compile(Program &program, const std::vector<std::string> &options) {
    std::string flags;
    bool contract = true; // nvrtc's default: --fmad=true
    for (size_t i = 0; i < options.size(); i++) {
        std::string option = options[i], value;
        size_t equals = option.find('=');
        if (option.rfind("-D", 0) == 0 && option.size() > 2) {
            value = option.substr(2), option = "-D";
        } else if (equals != std::string::npos) {
            value = option.substr(equals + 1), option = option.substr(0, equals);
        } else if ((option == "-D" || option == "-arch" || option == "--define-macro") && i + 1 < options.size()) {
            value = options[++i];
        }
        if (!translate(option, value, flags, contract)) {
            program.log = "nvrtc: error: unrecognized option " + options[i];
            return invalid_option;
        }
    }
    const std::string folder = own_folder(), kernels = folder + "/kernels";
    mkdir(kernels.c_str(), 0777);
    const char *compiler = getenv("CXX") ? getenv("CXX") : "c++";
    const bool sanitize = getenv("STAND_IN_SANITIZE") != nullptr;
    std::string build = " -O3 -march=native -fPIC -shared -w -fno-strict-aliasing -fno-math-errno -fno-trapping-math";
    build += contract ? " -ffp-contract=fast" : " -ffp-contract=off";
    if (sanitize) build += " -fsanitize=address -g -O1";
    if (flags.find("-std=") == std::string::npos) flags += " -std=gnu++17";
    const std::string header = read(folder + "/kernel.h") + read(folder + "/launch.h");
    std::string all = program.source + flags + build + compiler + header;
    for (auto &[name, text] : program.headers) all += name + text;
    char name[32];
    snprintf(name, sizeof name, "%016lx", (unsigned long)hash(all));
    const std::string base = kernels + "/" + name, shared = base + ".so";
    program.image = "STAND-IN MODULE " + shared;
    static std::mutex compiling; // threads of this process
    std::lock_guard<std::mutex> guard(compiling);
    if (!compile_for_gpus(program, options)) return compilation;
    if (exists(shared)) return success;

    // Other processes may compile the same: own names, renamed at the end.
    const std::string mine = base + "." + std::to_string(getpid());
    mkdir(mine.c_str(), 0777);
    for (auto &[header_name, text] : program.headers) write(mine + "/" + header_name, text);
    std::string source = std::regex_replace(
        program.source,
        std::regex(R"(extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s+)?([\w \t]+?)\s+(\w+)\s*\[\s*\]\s*;)"),
        "$1 *$2 = reinterpret_cast<$1 *>(stand_in_indices.dynamic_shared);");
    const std::string rtc = " -D__CUDACC__ -D__CUDACC_RTC__ -D__NVCC__ -D__CUDACC_VER_MAJOR__=13";
    write(mine + "/kernel.cu", source);
    std::string command = std::string(compiler) + " -x c++ -E -P -w" + flags + rtc + " -I '" + mine + "' '" + mine + "/kernel.cu'";
    std::string preprocessed;
    bool good = run(command, preprocessed);
    if (good) {
        write(mine + "/entries.cu", "#line 1 \"entries\"\n" + entries(preprocessed));
        write(mine + "/all.cu", "#include \"" + folder + "/kernel.h\"\n#line 1 \"kernel.cu\"\n" + source +
                                    "\n#include \"" + mine + "/entries.cu\"\n");
        command = std::string(compiler) + " -x c++" + flags + rtc + build + " -I '" + mine + "' '" + mine + "/all.cu' -o '" +
                  mine + "/kernel.so' -x none '" + folder + "/libcuda.so'";
        good = run(command, program.log);
    } else {
        program.log = preprocessed;
    }
    if (good) {
        rename((mine + "/all.cu").c_str(), (base + ".cu").c_str());
        good = rename((mine + "/kernel.so").c_str(), shared.c_str()) == 0;
    }
    std::string ignored;
    run("rm -rf '" + mine + "'", ignored);
    return good ? success : compilation;
}

} // namespace

STAND_IN_API nvrtcVersion(int *major, int *minor) {
    *major = 13;
    *minor = 0;
    return success;
}
extern "C" __attribute__((visibility("default"))) const char *nvrtcGetErrorString(int code) {
    switch (code) {
    case success: return "NVRTC_SUCCESS";
    case invalid_option: return "NVRTC_ERROR_INVALID_OPTION";
    case compilation: return "NVRTC_ERROR_COMPILATION";
    default: return "NVRTC_ERROR unknown";
    }
}
STAND_IN_API nvrtcGetNumSupportedArchs(int *count) {
    *count = 3;
    return success;
}
STAND_IN_API nvrtcGetSupportedArchs(int *architectures) {
    architectures[0] = 75, architectures[1] = 80, architectures[2] = 90;
    return success;
}
STAND_IN_API nvrtcCreateProgram(Program **program, const char *source, const char *name, int count,
                                const char *const *headers, const char *const *names) {
    *program = new Program{source, name ? name : "", "", "", {}};
    for (int i = 0; i < count; i++) (*program)->headers.push_back({names[i], headers[i]});
    return success;
}
STAND_IN_API nvrtcDestroyProgram(Program **program) {
    delete *program;
    *program = nullptr;
    return success;
}
STAND_IN_API nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    return compile(*program, std::vector<std::string>(options, options + count));
}
static int size_of(const std::string &text, size_t *size) {
    *size = text.size() + 1;
    return success;
}
static int copy_of(const std::string &text, char *to) {
    memcpy(to, text.c_str(), text.size() + 1);
    return success;
}
STAND_IN_API nvrtcGetPTXSize(Program *program, size_t *size) { return size_of(program->image, size); }
STAND_IN_API nvrtcGetPTX(Program *program, char *to) { return copy_of(program->image, to); }
STAND_IN_API nvrtcGetCUBINSize(Program *program, size_t *size) { return size_of(program->image, size); }
STAND_IN_API nvrtcGetCUBIN(Program *program, char *to) { return copy_of(program->image, to); }
STAND_IN_API nvrtcGetProgramLogSize(Program *program, size_t *size) { return size_of(program->log, size); }
STAND_IN_API nvrtcGetProgramLog(Program *program, char *to) { return copy_of(program->log, to); }
