# Redraw with `gnuplot mined_rows.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_rows.tsv'
headroom = 66
stats data using (note('box.median')) nooutput
x_max = 1
seen(x) = x == x ? (x_max = x > x_max ? x : x_max, 0) : 0
stats data using (seen(column('x'))) nooutput
quartiles = 'max q3 median q1 min'
tints = '#bbbbbb #777777 #000000 #777777 #bbbbbb'
do for [t in 'svg png'] {
    eval open(t, 'mined_rows')
    set logscale x 2
    set logscale y
    set xrange [0.9 : x_max * 2]
    set yrange [1e-9 : 1]
    set xtics nomirror 4
    set format y '10^{%T}'
    set xlabel 'query, counted from the first'
    set ylabel 'scores of a query''s keys'
    eval panel(2, 1)
    set title 'least, quartiles, most: means over heads' offset 0, -0.6
    set termoption enhanced
    plot for [q = 1:5] data using (mean_x('box.'.word(quartiles, q)) * 1.414):(share(column('mean'))):(low('lo')):'hi' \
            with yerrorlines lw (q == 3 ? 1.8 : 1.4) pt 7 ps 0.5 lc rgb word(tints, q)
    unset label 99
    eval panel(2, 2)
    set title 'median of every head' offset 0, -0.6
    unset ylabel
    plot for [i = 1:4] data using (head_x('box.median', i) * 1.414):(share(column('mean'))) with lines lw 1 lc rgb head_pale(i), \
        data using (mean_x('box.median') * 1.414):(share(column('mean'))):(low('lo')):'hi' with yerrorlines lw 1.8 pt 7 ps 0.5 lc rgb style_mean
    set termoption noenhanced
    eval legend(heads_legend.', '.mean_legend)
    eval close
}
