# What the pictures of attention share: viridis over the logarithm of the probability, grey for keys that were evicted or
# not selected, white for those not yet born.
set palette defined (-4.5 '#d9d9d9', -4.01 '#d9d9d9', -4 '#440154', -3.5 '#482878', -3 '#3e4989', -2.5 '#31688e', \
    -2 '#26828e', -1.5 '#1f9e89', -1.1 '#35b779', -0.7 '#6ece58', -0.35 '#b5de2b', 0 '#fde725')
set cbrange [-4.5 : 0]
set cbtics ('none' -4.5, '0.0001' -4, '0.001' -3, '0.01' -2, '0.1' -1, '1' 0) nomirror scale 0.4 tc rgb '#222222'
unset grid
