/* Which kernel computes a product, in how many blocks, and how much scratch that takes. */
#include "engine/kernels/cuda_items.cuh"
#include "engine/kernels/cuda_products.cuh"

bool product_is_deep() { return device_block_memory() >= 224 << 10; }

int product_grid(int shares) {
    int blocks = device_multiprocessors(), least = blocks / 2 + 1;
    return shares > blocks ? blocks : shares < least ? least : shares;
}

int32_t cuda_attends_early() { return product_is_deep() && cuda_early_launch(); }

void cuda_product_run(const cuda_product *p, cudaStream_t stream) {
    if (p->rows <= 4)
        product_few(p, stream);
    else
        product_many(p, stream);
}

size_t cuda_product_part_bytes(int32_t n, int32_t segment, int32_t rows) {
    int row_block = rows < CUDA_BLOCK_ROWS ? rows : CUDA_BLOCK_ROWS;
    shares s = share_out(n, segment, (rows + row_block - 1) / row_block, device_multiprocessors());
    return (size_t)s.cut * CUDA_SEGMENTS * 128 * (size_t)row_block * sizeof(float);
}

/* At most half as many items are cut as there are blocks, and eight warps share one. */
int32_t cuda_product_counters() { return 4 * device_multiprocessors(); }
