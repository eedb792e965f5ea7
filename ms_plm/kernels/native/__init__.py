"""Operations in C++ for CPUs: built where they are used, called from MindSpore's graphs as custom operations.

`src/` holds the C++; `build.py` compiles it; `library.py` loads it and makes graph operations of its symbols; the other
files hold the forms that `kernels/choice.py` chooses from, one beside each source file.
"""
