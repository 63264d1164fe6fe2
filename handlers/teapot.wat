;; The smallest handler there is: it writes a CGI document to standard output, and returns.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  (memory (export "memory") 1)
  ;; At 0, the one piece to write: where it is and how long. At 8, how much of it was written.
  (data (i32.const 0) "\10\00\00\00" "\50\00\00\00")
  (data (i32.const 16)
    "Status: 418 I'm a teapot\r\n"                 ;; 26 bytes
    "Content-Type: text/plain\r\n"                 ;; 26 bytes
    "\r\n"                                         ;;  2 bytes
    "I am short and stout here\n")                 ;; 26 bytes, so 80 (0x50) in all

  (func (export "_start")
    (local $error i32)
    (loop $again
      ;; fd 1, one piece
      (local.set $error (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (local.get $error)
        (then (call $proc_exit (i32.const 1))))
      ;; A write may take less than it is given: go on behind what it took.
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 8))))
      (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 8))))
      (br_if $again (i32.load (i32.const 4))))))
