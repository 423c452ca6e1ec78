# lifelines of lemmas: birth, uses and last use, by the gold labels and as a head shows them (raas plot lifelines FILE)
# Redraw with `gnuplot lifelines.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
load 'lifelines_data.gp'
row_px = n_lemmas > 60 ? 14 : n_lemmas > 30 ? 22 : 32
HT = 160 + row_px * n_lemmas
gold = '#D55E00'; found = '#0072B2'
set border 3 lw 1 lc rgb '#888888'
set grid xtics noytics lt 1 lw 0.6 lc rgb '#ececec'
set xrange [first - 4 : end + 4]
set yrange [n_lemmas - 0.4 : -0.6]
set ytics scale 0 font ',9' tc rgb '#222222'
set xtics nomirror font ',9' tc rgb '#222222'
set xlabel 'step of the solution; lemmas at the side, with their values' font ',10'
is(s, k) = column('source') == s && column('kind') == k
y(s) = column('lemma') + (s ? 0.2 : -0.2)
tint(s) = s ? found : gold
do for [t in 'svg png'] {
    if (t eq 'svg') { set terminal svg size 1000,HT font 'DejaVu Sans,11' background '#ffffff' noenhanced } \
    else { set terminal pngcairo size 2000,2*HT font 'DejaVu Sans,11' fontscale 2 linewidth 2 pointscale 2 background '#ffffff' noenhanced }
    set output 'lifelines.'.t
    set label 1 title at screen 0.5, screen 1 - 18.0 / HT center font ',12'
    set label 2 subtitle at screen 0.5, screen 1 - 40.0 / HT center font ',9' tc rgb '#444444'
    set lmargin at screen 0.13; set rmargin at screen 0.97
    set tmargin at screen 1 - 84.0 / HT; set bmargin at screen 62.0 / HT
    set key at screen 0.55, screen 1 - 64.0 / HT center center horizontal Left reverse maxrows 1 samplen 1.5 width 1 font ',9'
    plot for [s = 0:1] 'lifelines.tsv' using (is(s, 3) ? column('from') : NaN):(y(s)):(column('to') - column('from')):(0) \
            with vectors nohead lw 2 lc rgb tint(s) title (s ? 'detected, below' : 'gold, above'), \
        for [s = 0:1] 'lifelines.tsv' using (is(s, 0) ? column('from') : NaN):(y(s)) with points pt 7 ps 0.55 lc rgb tint(s) notitle, \
        for [s = 0:1] 'lifelines.tsv' using (is(s, 1) ? column('from') : NaN):(y(s) - 0.14):(0):(0.28) with vectors nohead lw 1 lc rgb tint(s) notitle, \
        for [s = 0:1] 'lifelines.tsv' using (is(s, 2) ? column('from') : NaN):(y(s)) with points pt 2 ps 0.7 lw 1.6 lc rgb tint(s) notitle, \
        NaN with points pt 7 ps 0.55 lc rgb '#555555' title 'stated', NaN with points pt '|' lc rgb '#555555' title 'used', \
        NaN with points pt 2 ps 0.7 lw 1.6 lc rgb '#555555' title 'last use'
    unset label
    unset output
}
