# What all figures share. Colours are Okabe and Ito's, told apart by any eye; every policy has its own
# colour and marker, the same in every figure.
set encoding utf8
set termoption noenhanced
set datafile separator "\t"
set datafile columnheaders
set datafile commentschars ""
set tics nomirror out scale 0.6
set border 3 lw 1.2 lc rgb '#444444'
set grid ytics lt 1 lw 0.8 lc rgb '#e4e4e4'
set grid noxtics
set errorbars small

# A known policy has its row of colours and markers (filled ones); others take the rows behind, by
# their place i in the figure.
style_names = 'raas quest h2o streaming random fifo oracle full tova snapkv rkv'
style_colours = '#D55E00 #009E73 #0072B2 #E69F00 #777777 #CC79A7 #000000 #000000 #882255 #332288 #999933 '.\
    '#56B4E9 #8C510A #5E3C99 #B2182B #66A61E #01665E'
style_markers = '7 5 9 13 11 15 7 7 15 5 9 5 9 13 11 15 7'
style_extra = 6
style_at(p) = strstrt(' '.style_names.' ', ' '.p.' ')
style_row(p, i) = style_at(p) ? words(substr(style_names, 1, style_at(p) - 1)) + 1 \
    : words(style_names) + 1 + i % style_extra
style_colour(p, i) = word(style_colours, style_row(p, i))
style_pale(p, i) = '#90'.substr(style_colour(p, i), 2, 7)
style_marker(p, i) = int(word(style_markers, style_row(p, i)))
style_full = '#333333'
style_band = '#f0f0f0'

# Classes of attention heads and of keys (analysis/lifecycle.h).
head_classes = 'streaming waterfall retrieval diffuse'
head_colours = '#888888 #D55E00 #0072B2 #009E73'
head_colour(i) = word(head_colours, i)
key_classes = 'sink milestone recurring phoenix local unused censored'
key_colours = '#5E3C99 #E69F00 #B2182B #CC79A7 #56B4E9 #d0d0d0 #999999'

# Lists of words, and a legend of so many entries as rows and columns that a width of pixels holds.
style_has(list, word) = strstrt(' '.list.' ', ' '.word.' ') > 0
style_longest(list) = (style_most = 4, sum [style_i = 1:words(list)] (style_most = strlen(word(list, style_i)) > style_most \
    ? strlen(word(list, style_i)) : style_most, 0), style_most)
style_rows(entries, columns) = (entries + columns - 1) / columns
style_columns(entries, entry_px, width) = style_rows(entries, style_rows(entries, \
    entry_px > width - 40 ? 1 : int((width - 40) / entry_px)))
