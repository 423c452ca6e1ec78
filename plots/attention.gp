# attention of one head, with the keys that are detected and the gold labels (raas plot attention FILE --layer L --head H)
# Redraw with `gnuplot attention.gp` in the folder that holds this, both styles and the data.
load 'style.gp'
load 'attention_style.gp'
load 'attention_data.gp'
W = 1000; HT = 1010
left = texts_y ? 120 : 96; right = 124; top = 142; bottom = texts_x ? 122 : 86
sx = (end - key_0) / real(width); sy = (end - query_0) / real(height)
x0 = key_0 - 0.5 + sx / 2; y0 = query_0 - 0.5 + sy / 2
kind(k) = column('kind') == k ? column('key') : NaN

# Rows of the strip above the map, from its top: what is called so, its kind in the data, its colour.
strips = 'sink milestone recurring phoenix lemma'
kinds = '10 16 15 14 0'
shades = word(key_colours, 1).' '.word(key_colours, 2).' '.word(key_colours, 3).' '.word(key_colours, 4).' #000000'
n_strips = marks ? 5 : 4
thin = 0.5 * (sx > 1 ? 1.2 * sx : 1)
do for [t in 'svg png'] {
    if (t eq 'svg') { set terminal svg size W,HT background '#ffffff' font 'DejaVu Sans,11' noenhanced } \
    else { set terminal pngcairo size 2*W,2*HT fontscale 2 linewidth 2 pointscale 2 font 'DejaVu Sans,11' background '#ffffff' noenhanced }
    set output 'attention.'.t
    set multiplot
    set border 15 lw 0.8 lc rgb '#888888'
    unset grid
    set lmargin at screen left / real(W); set rmargin at screen 1 - right / real(W)
    set xrange [key_0 - 0.5 : end - 0.5]

    set tmargin at screen 1 - 56.0 / HT; set bmargin at screen 1 - (top - 6.0) / HT
    set label 1 title at screen 0.5, screen 1 - 20.0 / HT center font ',12'
    set label 2 'detected:' at graph 1, graph 1 offset 1, -0.6 left font ',9' tc rgb '#444444'
    set label 3 'a ≥ '.theta at graph 1, graph 1 offset 1, -1.9 left font ',9' tc rgb '#444444'
    set label 4 sprintf('> %d back', window) at graph 1, graph 1 offset 1, -3.2 left font ',9' tc rgb '#444444'
    if (marks) { set label 5 'lemma: gold' at graph 1, graph 1 offset 1, -4.5 left font ',9' tc rgb '#444444' }
    set yrange [-n_strips - 0.5 : -0.5]
    unset xtics; unset xlabel; unset ylabel; unset key; unset colorbox
    set ytics scale 0 font ',8' ()
    do for [k = 1:n_strips] { set ytics add (word(strips, k) -k) }
    set style fill solid noborder
    plot for [k = 1:n_strips] 'attention.tsv' using (kind(int(word(kinds, k)))):(-k):(column('key') - thin):(column('key') + thin): \
        (-k - 0.4):(-k + 0.4) with boxxyerror lc rgb word(shades, k)
    unset label

    set tmargin at screen 1 - real(top) / HT; set bmargin at screen real(bottom) / HT
    set label 6 'key' at graph 0.5, screen 16.0 / HT center; set ylabel 'query' offset 1.5, 0
    set yrange [end - 0.5 : query_0 - 0.5]
    set xtics nomirror out scale 0.4 font ',8' tc rgb '#222222'
    set ytics nomirror out scale 0.4 font ',8' tc rgb '#222222' ()
    load 'attention_data.gp'
    set colorbox user origin screen 1 - (right - 18.0) / W, screen 0.25 size screen 16.0 / W, screen 0.5
    set cbtics font ',9'
    set cblabel 'probability' offset -0.5, 0
    set key at graph 1, graph 1 right top samplen 1 font ',10' reverse Left
    if (!marks) { unset key }
    if (n_prompt > key_0 && n_prompt < end) { set arrow 1 from n_prompt - 0.5, graph 0 to n_prompt - 0.5, graph 1 nohead front lw 1 dt 3 lc rgb '#D55E00' }
    plot 'attention.bin' binary array=(width, height) dx=sx dy=sy origin=(x0, y0) format='%float' with image notitle, \
        'attention.tsv' using (kind(0)):'query' with points pt 9 ps 0.5 lc rgb '#D55E00' title 'a lemma''s value', \
        'attention.tsv' using (kind(1)):'query' with points pt 6 ps 0.9 lw 1.2 lc rgb '#D55E00' title 'the next token recalls it', \
        for [k = 2:4] 'attention.tsv' using (texts_x ? kind(int(word(kinds, k))) : NaN):'query' with points pt 2 ps 0.6 lw 1.4 lc rgb '#ff33cc' \
            title (texts_x && k == 2 ? 'last use of a detected key' : '')
    unset multiplot
    unset label; unset arrow
    unset output
}
