/* From flash to RAM: copies the image, clears the rest, and goes to the program. */
    .syntax unified
    .cpu cortex-m0plus
    .thumb

    .section .start_vectors, "a"
    .word stack_top
    .word start

    .section .start, "ax"
    .global start
    .thumb_func
start:
    ldr r0, =image_source
    ldr r1, =image_start
    ldr r2, =image_end
copy:
    cmp r1, r2
    bhs copied
    ldmia r0!, {r3}
    stmia r1!, {r3}
    b copy
copied:
    ldr r1, =bss_start
    ldr r2, =bss_end
    movs r3, #0
clear:
    cmp r1, r2
    bhs cleared
    stmia r1!, {r3}
    b clear
cleared:
    ldr r0, =image_start            /* the vectors in RAM */
    ldr r1, =0xE000ED08
    str r0, [r1]
    ldr r0, =main
    bx r0
    .pool
