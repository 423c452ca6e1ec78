# Redraw with `gnuplot attention.gp` in the folder that holds this, both styles and the data.
load 'style.gp'
load 'attention_style.gp'
load 'attention_data.gp'
set border 15 lw 0.8 lc rgb '#888888'
set title title font ',13' offset 0, 0.3
set xlabel 'key'
set ylabel 'query'
set xrange [key_0 - 0.5 : end - 0.5]
set yrange [end - 0.5 : query_0 - 0.5]
set xtics out scale 0.4 font ',8' tc rgb '#222222'
set ytics out scale 0.4 font ',8' tc rgb '#222222'
set cbtics font ',9'
set cblabel 'probability'
set lmargin texts_y ? 14 : 11
set bmargin texts_x ? 7 : 5.5
set rmargin 12
set tmargin marks ? 5 : 3
set key above left horizontal reverse Left samplen 1 font ',10'
if (!marks) { unset key }
if (n_prompt > key_0 && n_prompt < end) { set arrow 1 from n_prompt - 0.5, graph 0 to n_prompt - 0.5, graph 1 nohead front lw 1 dt 3 lc rgb '#D55E00' }
sx = (end - key_0) / real(width); sy = (end - query_0) / real(height)
x0 = key_0 - 0.5 + sx / 2; y0 = query_0 - 0.5 + sy / 2
kind(k) = column('kind') == k ? column('key') : NaN
do for [t in 'svg png'] {
    if (t eq 'svg') { set terminal svg size 1000,960 background '#ffffff' font 'DejaVu Sans,11' } \
    else { set terminal pngcairo size 2000,1920 fontscale 2 linewidth 2 pointscale 2 font 'DejaVu Sans,11' background '#ffffff' }
    set output 'attention.'.t
    plot 'attention.bin' binary array=(width, height) dx=sx dy=sy origin=(x0, y0) format='%float' with image notitle, \
        'attention.tsv' using (kind(0)):'query' with points pt 9 ps 0.5 lc rgb '#D55E00' title 'a lemma''s value', \
        'attention.tsv' using (kind(1)):'query' with points pt 6 ps 0.9 lw 1.2 lc rgb '#D55E00' title 'the next token recalls it'
    unset output
}
